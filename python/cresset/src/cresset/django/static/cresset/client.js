// Cresset in a page: submit, follow a task as it goes, show what came of it. An ES module without dependencies.
//
//   import { follow } from "/static/cresset/client.js";
//   const task = await follow("/inference/tasks/ID", { onState: (task) => show(task.status) });
//
//   <cresset-task src="/inference/tasks/ID"></cresset-task>      shows the state, then the result, and sends events
//
// A task is followed by server-sent events where there are such (EventSource), else by long polls, else by polls that become
// rarer; whichever it is, the caller is told each state once and the end always. It works on the URLs of a Django site
// (cresset.django), and on those of the server itself: both speak of tasks in the same way.

const FINAL = new Set(["SUCCESS", "FAILURE", "REVOKED"]);
const POLL_FIRST_MS = 150; // most tasks are short
const POLL_LAST_MS = 5000;
const WAIT_S = 20; // one long poll; below what proxies cut off as idle
const LOST_MS = 60000; // the server is looked for this long

/** An error answer: `code` is stable, `status` is HTTP's, `problem` the whole body. */
export class CressetError extends Error {
  constructor(status, problem, retryAfter) {
    super(problem.detail || problem.title || `HTTP ${status}`);
    this.name = "CressetError";
    this.status = status;
    this.code = problem.code || "";
    this.problem = problem;
    this.retryAfter = retryAfter;
  }
}

/** A task that ended without a result. */
export class TaskFailed extends Error {
  constructor(task) {
    super(task.error ? task.error.message : `the task is ${task.status}`);
    this.name = "TaskFailed";
    this.task = task;
  }
}

const sleep = (ms, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(done, ms);
    function done() {
      signal?.removeEventListener("abort", gone);
      resolve();
    }
    function gone() {
      clearTimeout(timer);
      reject(signal.reason);
    }
    signal?.addEventListener("abort", gone, { once: true });
  });

async function ask(url, options) {
  const response = await fetch(url, { credentials: "same-origin", ...options });
  const kind = response.headers.get("content-type") || "";
  const body = kind.includes("json") ? await response.json() : {};
  if (!response.ok) {
    const after = Number(response.headers.get("retry-after"));
    throw new CressetError(response.status, body, after > 0 ? after : null);
  }
  return body;
}

/** The same answer may come if it is asked again: the server is busy, restarting, or out of reach. */
const isPassing = (error) =>
  error instanceof TypeError || (error instanceof CressetError && (error.status === 429 || error.status >= 502));

const withQuery = (url, text) => url + (url.includes("?") ? "&" : "?") + text;

/** Events of one task, until its end. Resolves to the task, or to null when this way does not work (here, or any more). */
function byEvents(url, tell, signal) {
  if (typeof EventSource === "undefined") return Promise.resolve(null);
  return new Promise((resolve, reject) => {
    const source = new EventSource(url, { withCredentials: true });
    const end = (value) => {
      source.close();
      signal?.removeEventListener("abort", gone);
      resolve(value);
    };
    const gone = () => {
      source.close();
      reject(signal.reason);
    };
    signal?.addEventListener("abort", gone, { once: true });
    source.addEventListener("status", (event) => {
      const task = JSON.parse(event.data);
      tell(task);
      if (FINAL.has(task.status)) end(task);
    });
    source.addEventListener("error", () => {
      // CONNECTING: the browser comes back by itself, with the id of the last event. CLOSED: it was refused.
      if (source.readyState === EventSource.CLOSED) end(null);
    });
  });
}

async function byPolls(url, tell, signal) {
  let pause = POLL_FIRST_MS;
  let lostAt = null;
  for (;;) {
    const began = performance.now();
    let again = null;
    try {
      const task = await ask(withQuery(url, `wait=${WAIT_S}`), { signal });
      lostAt = null;
      tell(task);
      if (FINAL.has(task.status)) return task;
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      lostAt ??= performance.now();
      if (!isPassing(error) || performance.now() - lostAt > LOST_MS) throw error;
      again = error.retryAfter ? error.retryAfter * 1000 : null;
    }
    // A poll that was held needs no pause; one that was answered at once asks for rarer ones.
    if (performance.now() - began > (WAIT_S * 1000) / 2) pause = POLL_FIRST_MS;
    await sleep(again ?? pause * (1 + Math.random() / 4), signal);
    pause = Math.min(pause * 1.5, POLL_LAST_MS);
  }
}

/**
 * Follows a task to its end.
 *
 * @param {string} url the task's URL: `url` of the answer to a submit, or `/v1/tasks/ID` of a server.
 * @param {object} [options]
 * @param {string|null} [options.events] the URL of its events; by default `url` with `/events`. null: poll.
 * @param {(task: object) => void} [options.onState] called with the task each time that it has come to another state.
 * @param {AbortSignal} [options.signal] gives up; the task goes on.
 * @returns {Promise<object>} the task, ended, whichever way.
 */
export async function follow(url, { events = `${url.replace(/\/$/, "")}/events`, onState, signal } = {}) {
  signal?.throwIfAborted();
  let last = null;
  const tell = (task) => {
    const now = `${task.status} ${task.attempts} ${task.retries}`;
    if (now !== last && onState) onState(task);
    last = now;
  };
  const task = events === null ? null : await byEvents(events, tell, signal);
  return task ?? byPolls(url, tell, signal);
}

/** The token that Django wants with a POST: from its cookie, or from a hidden field of the page. */
function csrfToken() {
  const cookie = document.cookie.match(/(?:^|; )csrftoken=([^;]+)/);
  return cookie ? decodeURIComponent(cookie[1]) : document.querySelector("[name=csrfmiddlewaretoken]")?.value;
}

/** A site, or a server, to submit to. */
export class Cresset {
  /** @param {string} base where `cresset.django.urls` are, or the server's `/v1`. */
  constructor(base = "/v1", { headers = {} } = {}) {
    this.base = base.replace(/\/$/, "");
    this.headers = headers;
  }

  /** Submits: `submit("digits", pixels)`, or to a URL of the site's own: `submit("/classify", formData)`. */
  async submit(model, input, { signal } = {}) {
    const url = model.startsWith("/") ? model : `${this.base}/models/${encodeURIComponent(model)}/tasks`;
    const headers = { accept: "application/json", ...this.headers };
    const token = csrfToken();
    if (token) headers["x-csrftoken"] = token;
    const isForm = input instanceof FormData || input instanceof Blob || input instanceof URLSearchParams;
    if (!isForm) headers["content-type"] = "application/json";
    const body = isForm ? input : JSON.stringify({ input });
    const task = await ask(url, { method: "POST", headers, body, signal });
    return { ...task, url: task.url || `${this.base}/tasks/${task.task_id}` };
  }

  /** Follows a task that was submitted; see `follow`. */
  follow(task, options) {
    const events = task.events_url === undefined ? {} : { events: task.events_url };
    return follow(task.url, { ...events, ...options });
  }

  /** Submits and waits: the result. Throws `TaskFailed` when there is none. */
  async run(model, input, options = {}) {
    const task = await this.follow(await this.submit(model, input, options), options);
    if (task.status !== "SUCCESS") throw new TaskFailed(task);
    return task.result;
  }

  /** Cancels a task that was submitted. */
  async cancel(task) {
    const headers = { ...this.headers };
    const token = csrfToken();
    if (token) headers["x-csrftoken"] = token;
    return ask(task.cancel_url || `${task.url}/cancel`, { method: "POST", headers });
  }
}

const WORDS = { PENDING: "queued", STARTED: "running", RETRY: "to be tried again", REVOKED: "cancelled" };

if (typeof HTMLElement !== "undefined") {
  /**
   * `<cresset-task src events>`: shows a task without a reload. Its attribute `state` is there for style sheets; `cresset-state` and
   * `cresset-end` are its events, with the task in `detail`. `cresset-end` can be cancelled by who shows the result another way.
   */
  class CressetTask extends HTMLElement {
    static observedAttributes = ["src"];

    connectedCallback() {
      this.setAttribute("role", "status"); // read out by screen readers when it changes
      this.#begin();
    }

    disconnectedCallback() {
      this.#stop?.abort();
    }

    attributeChangedCallback(_name, before, after) {
      if (this.isConnected && before !== after) this.#begin();
    }

    #stop = null;

    async #begin() {
      this.#stop?.abort();
      const src = this.getAttribute("src");
      if (!src) return;
      const { signal } = (this.#stop = new AbortController());
      const options = { signal, onState: (task) => this.#state(task) };
      if (this.hasAttribute("events")) options.events = this.getAttribute("events") || null;
      try {
        this.#end(await follow(src, options));
      } catch (error) {
        if (signal.aborted) return;
        this.setAttribute("state", "ERROR");
        this.textContent = error.message;
        this.dispatchEvent(new CustomEvent("cresset-error", { detail: error, bubbles: true }));
      }
    }

    #state(task) {
      this.setAttribute("state", task.status);
      if (!FINAL.has(task.status)) {
        const ahead = task.queue_position ? ` (${task.queue_position} before it)` : "";
        this.textContent = `${WORDS[task.status] || task.status}${ahead}`;
      }
      this.dispatchEvent(new CustomEvent("cresset-state", { detail: task, bubbles: true }));
    }

    #end(task) {
      const event = new CustomEvent("cresset-end", { detail: task, bubbles: true, cancelable: true });
      if (!this.dispatchEvent(event)) return;
      if (task.status === "SUCCESS") {
        this.textContent = typeof task.result === "string" ? task.result : JSON.stringify(task.result, null, 1);
      } else {
        this.textContent = task.error ? task.error.message : WORDS[task.status] || task.status;
      }
    }
  }

  if (!customElements.get("cresset-task")) customElements.define("cresset-task", CressetTask);
}
