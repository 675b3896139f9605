// Speaks to the HTTP API in the user's name.

import { session } from './session.js';

// A request that the broker refused, in its words.
export class Refused extends Error {
  constructor(status, error, reason) {
    super(words(status, error, reason));
    Object.assign(this, { status, error });
  }
}

// No answer: the broker or the way to it is down.
export class Unreachable extends Error {
  constructor() {
    super('The broker does not answer.');
  }
}

// Who is logged in is so no more.
export class LoggedOut extends Error {
  constructor() {
    super('You are not logged in any more.');
  }
}

function words(status, error, reason) {
  const text = typeof reason === 'string' ? reason : reason === undefined ? '' : JSON.stringify(reason);
  if (status === 404 && error === 'Object Not Found') return 'There is nothing of this name (any more).';
  if (reason === 'Not_Authorized') return 'The username or the password is wrong.';
  if (status === 401) return `Not authorised: ${text || error}`;
  return text || error || `The broker answered with status ${status}.`;
}

// A path below /api of names, which may contain anything.
export const path = (...names) => names.map(encodeURIComponent).join('/');

// What the API calls the exchange without a name.
export const exchangeName = (name) => name || 'amq.default';

async function answered(method, url, body, options) {
  const headers = { Authorization: options.authorization ?? session.authorization, ...options.headers };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  const request = { method, headers, signal: options.signal, cache: 'no-store', credentials: 'omit' };
  if (body !== undefined) request.body = typeof body === 'string' ? body : JSON.stringify(body);
  try {
    const response = await fetch(`api/${url}`, request);
    return [response, await response.text()];
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Unreachable();
  }
}

async function send(method, url, body, options = {}) {
  const [response, text] = await answered(method, url, body, options);
  let json;
  try {
    json = text ? JSON.parse(text) : undefined;
  } catch {
    // A proxy's page, for example.
    json = undefined;
  }
  if (response.ok) return json;
  // The login is spelled with a z, rights are not.
  const isLogin = response.status === 401 && (!json || json.error === 'not_authorized');
  if (isLogin && !options.authorization) throw new LoggedOut();
  throw new Refused(response.status, json?.error, json?.reason);
}

export const api = {
  get: (url, options) => send('GET', url, undefined, options),
  put: (url, body = {}) => send('PUT', url, body),
  post: (url, body = {}) => send('POST', url, body),
  delete: (url, options) => send('DELETE', url, undefined, options),
  whoami: (authorization) => send('GET', 'whoami', undefined, { authorization }),
};
