"""An app of its own: a table of the tasks that the site submitted, with admin pages.

```python
INSTALLED_APPS = [..., "cresset.django", "cresset.django.mirror"]
```

and `manage.py migrate`. A row is written when `cresset.django.submit` has submitted a task, whichever way the site got
there, and is brought up to date by webhooks (`cresset.django.webhooks`) and by `manage.py cresset_sync`. The server
stays the one that knows: a row says how the task stood when the site last heard of it, and holds no result.
"""
