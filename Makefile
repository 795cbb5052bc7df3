# The words mean the same for people and for .ci/run. What they do is in scripts/.

.PHONY: demo run django django-compare celery test faults check bench bench-full docs fmt

demo: ## compile, serve examples/digits, submit every held-out image, say how to go on (DEMO_KEEP=1: serve on)
	@scripts/demo.sh

run: ## serve examples/digits, or MODELS=folder, on 127.0.0.1:8700
	@MODELS="$(MODELS)" scripts/run.sh

django: ## serve examples/django: a Django site under uWSGI behind nginx, on 127.0.0.1:8080 (docs/django.md)
	@scripts/django.sh

django-compare: ## what a slow model does to that site: inline in the view, behind Celery, and at Cresset
	@scripts/django.sh compare

celery: ## a Celery application served by a real worker, then by Cresset: rates, latencies; on Redis, or BROKER=rabbitmq or amqp://...
	@BROKER="$(BROKER)" scripts/celery.sh

test: ## every test: Rust, the Python package, the program from outside
	@scripts/test.sh

faults: ## kill, stop, starve and cut off the program by seed, and hold it to its promises: FAULT_SEEDS=500, or FAULT_SEED=n; FAULT_FLEET=1: a fleet on one PostgreSQL, FAULT_FLEET=mariadb: on one MariaDB, redis or rabbitmq: over a broker
	@scripts/faults.sh

check: ## formats, lints, types, house rules, dependencies, generated documents; edits nothing
	@scripts/check.sh

bench: ## micro benches, then Cresset beside its peers: a few minutes
	@scripts/bench.sh

bench-full: ## every scenario and peer: three quarters of an hour on a quiet machine (docs/performance.md)
	@scripts/bench.sh --full

docs: ## the pages of docs/ as a site, in build/book
	@scripts/docs.sh

fmt: ## format Rust and Python
	@scripts/fmt.sh
