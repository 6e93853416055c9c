/** A request that was refused, or that got no answer at all (`status` 0). */
export class ApiError extends Error {
  constructor(status, code, sentence, retryAfterMs = 0) {
    super(sentence);
    Object.assign(this, { status, code, retryAfterMs });
  }

  /** The same request may succeed later. */
  get isTransient() {
    return this.status === 0 || this.status >= 500 || [408, 425, 429].includes(this.status);
  }

  /** It waits for this person to sign in again. */
  get isSignedOut() {
    return this.code === 'signed-out' || this.code === 'other-person';
  }
}

const TIMEOUT_MS = 30_000;

/** The JSON API, with the session's cookie and a CSRF token that renews itself. */
export class Api {
  /** @param {{apiRoot: string, csrfToken: string, person: string}} options */
  constructor({ apiRoot, csrfToken, person }) {
    Object.assign(this, { root: new URL(apiRoot, location.href), csrfToken, person });
  }

  get(path) {
    return this.#call(path);
  }

  /** @param {boolean} [keepalive] lets the request outlive the page */
  post(path, body, keepalive = false) {
    return this.#call(path, { method: 'POST', body: JSON.stringify(body), keepalive });
  }

  async #call(path, options) {
    const url = new URL(path, this.root);
    let response = await this.#fetch(url, options);
    if (response.status === 401 || response.status === 403) {
      // Signing in again, in another tab, changes the CSRF token: the page has the new one.
      await this.#renewToken();
      response = await this.#fetch(url, options);
    }
    if (!response.ok) throw await toError(response);
    if (response.status === 204) return null;
    // A hotel's sign-in page is not our answer, whatever its status says.
    return response.json().catch(noAnswer);
  }

  #fetch(url, options) {
    const headers = { 'Content-Type': 'application/json', 'X-CSRFToken': this.csrfToken };
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    return fetch(url, { headers, signal, ...options }).catch(noAnswer);
  }

  async #renewToken() {
    const response = await this.#fetch(location.pathname);
    if (response.status >= 500) throw await toError(response);
    const text = await response.text().catch(noAnswer);
    const page = new DOMParser().parseFromString(text, 'text/html').querySelector('[data-review]');
    if (page?.dataset.person !== this.person) {
      throw new ApiError(401, page ? 'other-person' : 'signed-out', 'You are signed out.');
    }
    this.csrfToken = page.dataset.csrfToken;
  }
}

function noAnswer() {
  throw new ApiError(0, 'no-answer', 'No answer from the server.');
}

async function toError(response) {
  const problem = await response.json().catch(() => ({}));
  const sentence = problem.detail || problem.title || `The server answered ${response.status}.`;
  const seconds = Number(response.headers.get('Retry-After')) || 0;
  return new ApiError(response.status, problem.code, sentence, seconds * 1000);
}
