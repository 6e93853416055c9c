/** A request that was refused (`status` ≥ 400) or that got no answer at all (`status` 0). */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string} code the server's stable code, or ours: `no_answer`, `signed_out`, `other_person`
   * @param {string} sentence what a person may read
   * @param {number} retryAfterMs what the server asked us to wait, 0 when it did not
   */
  constructor(status, code, sentence, retryAfterMs = 0) {
    super(sentence);
    this.status = status;
    this.code = code;
    this.retryAfterMs = retryAfterMs;
  }

  /** True when the same request may succeed later without anybody changing it. */
  get isTransient() {
    return this.status === 0 || this.status >= 500 || [408, 425, 429].includes(this.status);
  }

  /** True when the request waits for this person to sign in again. */
  get isSignedOut() {
    return this.code === 'signed_out' || this.code === 'other_person';
  }
}

const TIMEOUT_MS = 30_000;

/** The JSON API under one root, with the session cookie and a CSRF token that renews itself. */
export class Api {
  /** @param {{root: string, csrfToken: string, person: string}} options */
  constructor({ root, csrfToken, person }) {
    this.root = root;
    this.csrfToken = csrfToken;
    this.person = person;
  }

  /** @param {string} path relative to the root, or an absolute address on this host */
  get(path) {
    return this.#call('GET', path);
  }

  /**
   * @param {string} path
   * @param {object} body
   * @param {{keepalive?: boolean}} options `keepalive` lets the request outlive the page
   */
  post(path, body, options = {}) {
    return this.#call('POST', path, body, options);
  }

  async #call(method, path, body, options = {}) {
    let response = await this.#fetch(method, path, body, options);
    if (response.status === 401 || response.status === 403) {
      // Signing in again (in another tab) changes the CSRF token: ask the page for the new one, once.
      await this.#renewToken();
      response = await this.#fetch(method, path, body, options);
    }
    if (!response.ok) throw await toError(response);
    if (response.status === 204) return null;
    // A proxy's or a hotel's sign-in page is not our answer, whatever its status says.
    return response.json().catch(() => Promise.reject(noAnswer()));
  }

  async #fetch(method, path, body, { keepalive = false } = {}) {
    const headers = { Accept: 'application/json' };
    if (body !== undefined) {
      headers['Content-Type'] = 'application/json';
      headers['X-CSRFToken'] = this.csrfToken;
    }
    try {
      return await fetch(new URL(path, new URL(this.root, location.href)), {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        credentials: 'same-origin',
        keepalive,
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
    } catch {
      throw noAnswer();
    }
  }

  async #renewToken() {
    const response = await this.#fetch('GET', location.pathname);
    if (response.status >= 500) throw await toError(response);
    const text = await response.text().catch(() => Promise.reject(noAnswer()));
    const root = new DOMParser().parseFromString(text, 'text/html').querySelector('[data-review]');
    if (!root) throw new ApiError(401, 'signed_out', 'You are signed out.');
    if (root.dataset.person !== this.person) {
      throw new ApiError(401, 'other_person', 'Somebody else has signed in on this browser.');
    }
    this.csrfToken = root.dataset.csrfToken;
  }
}

function noAnswer() {
  return new ApiError(0, 'no_answer', 'No answer from the server.');
}

/** @param {Response} response */
async function toError(response) {
  const problem = await response.json().catch(() => ({}));
  const sentence = problem.detail || problem.title || `The server answered ${response.status}.`;
  const seconds = Number(response.headers.get('Retry-After')) || 0;
  return new ApiError(response.status, problem.code || 'unknown', sentence, seconds * 1000);
}
