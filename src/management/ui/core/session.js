// Who is logged in, for as long as the tab lives, and how the user likes the pages, for longer.

const SESSION = 'lepus.session';

export const session = {
  name: '',
  tags: [],
  // The header of the user's requests.
  authorization: '',
  // When the login is over, in ms; 0: it is not.
  until: 0,
  // What a provider gave, if it was one that logged the user in (`oauth.js`).
  tokens: null,

  // Takes up the session of this tab, if there is one.
  restore() {
    try {
      Object.assign(this, JSON.parse(sessionStorage.getItem(SESSION)) ?? {});
    } catch {
      sessionStorage.removeItem(SESSION);
    }
    return this.authorization !== '';
  },

  // One that goes on, with another token, ends when it would have ended.
  begin(authorization, { name, tags, login_session_timeout: minutes }, tokens = null) {
    const until = this.until || (minutes ? Date.now() + minutes * 60_000 : 0);
    const kept = { name, tags: typeof tags === 'string' ? tags.split(',') : tags, authorization, until, tokens };
    Object.assign(this, kept);
    sessionStorage.setItem(SESSION, JSON.stringify(kept));
  },

  end() {
    sessionStorage.removeItem(SESSION);
    Object.assign(this, { name: '', tags: [], authorization: '', until: 0, tokens: null });
  },

  has(...tags) {
    return tags.some((tag) => this.tags.includes(tag));
  },
  get isAdministrator() {
    return this.has('administrator');
  },
  // Sees nodes, and connections of others.
  get isMonitor() {
    return this.has('administrator', 'monitoring');
  },
  // Makes policies.
  get isPolicymaker() {
    return this.has('administrator', 'policymaker');
  },
};

// Name and password as the header of a request wants them: UTF-8 in base64.
export function basic(name, password) {
  const bytes = new TextEncoder().encode(`${name}:${password}`);
  return `Basic ${btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''))}`;
}

export const bearer = (token) => `Bearer ${token}`;

// What the user chose, kept in this browser. What cannot be read or kept is as if never chosen.
export const choices = {
  get(name, otherwise) {
    try {
      return JSON.parse(localStorage.getItem(`lepus.${name}`)) ?? otherwise;
    } catch {
      return otherwise;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(`lepus.${name}`, JSON.stringify(value));
    } catch {
      // Full, or forbidden: it holds for this page only.
    }
  },
};
