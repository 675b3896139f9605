// Login at a provider of OAuth 2: the authorization code flow with PKCE (RFC 6749, 7636), all of it in this page. The
// broker says whom to ask (`/oauth.json`) and sees the token only, in the requests that follow.

import { Unreachable } from './api.js';

// What must be known again when the provider has sent the user back.
const PENDING = 'lepus.oauth';
// A token is renewed when so much of its time is over.
const RENEWED_AT = 0.75;

const base = () => new URL('.', location.href).href;
const redirectUri = () => `${base()}js/oidc-oauth/login-callback.html`;

const base64url = (bytes) =>
  btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '');

const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)));

async function asked(url, request) {
  let response;
  try {
    response = await fetch(url, { cache: 'no-store', credentials: 'omit', ...request });
  } catch {
    throw new Error(`The provider does not answer at ${new URL(url).origin}.`);
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  throw new Error(`The provider refuses: ${answer.error_description ?? answer.error ?? response.status}`);
}

// What the broker says of the provider; nothing if users log in here.
export async function provider() {
  let response;
  try {
    response = await fetch('oauth.json', { cache: 'no-store', credentials: 'omit' });
  } catch {
    throw new Unreachable();
  }
  const said = response.ok ? await response.json() : {};
  return said.oauth_enabled ? said : undefined;
}

const endpoints = (own) =>
  asked(own.oauth_metadata_url ?? `${own.oauth_provider_url.replace(/\/$/, '')}/.well-known/openid-configuration`);

// Goes to the provider's page.
export async function begin(own) {
  if (own.oauth_initiated_logon_type === 'idp_initiated') {
    location.assign(own.oauth_provider_url);
    return;
  }
  // Browsers have it on secure pages only.
  if (!crypto.subtle) throw new Error('A login at a provider needs HTTPS, or a broker on this machine.');
  const { authorization_endpoint: endpoint } = await endpoints(own);
  const pending = { state: random(), verifier: random(), hash: location.hash };
  sessionStorage.setItem(PENDING, JSON.stringify(pending));
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(pending.verifier));
  const url = new URL(endpoint);
  const parameters = {
    response_type: 'code',
    client_id: own.oauth_client_id,
    redirect_uri: redirectUri(),
    scope: own.oauth_scopes,
    state: pending.state,
    code_challenge: base64url(new Uint8Array(digest)),
    code_challenge_method: 'S256',
  };
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  location.assign(url);
}

async function tokens(own, parameters) {
  const { token_endpoint: endpoint, end_session_endpoint: logout } = await endpoints(own);
  const body = new URLSearchParams({ client_id: own.oauth_client_id, ...parameters });
  const { access_token: token, refresh_token: refresh, id_token: id, expires_in: seconds } = await asked(endpoint, {
    method: 'POST',
    body,
  });
  if (!token) throw new Error('The provider gave no token.');
  return { token, refresh, id, logout, renewAt: seconds ? Date.now() + seconds * 1000 * RENEWED_AT : 0 };
}

// What the provider has sent the user back with, if it has: tokens, as `renewed` gives them.
export async function arrived() {
  const pending = JSON.parse(sessionStorage.getItem(PENDING) ?? 'null');
  sessionStorage.removeItem(PENDING);
  const query = new URLSearchParams(location.search);
  const sent = new URLSearchParams(location.hash.slice(1));
  if (sent.has('access_token') || sent.has('error')) {
    history.replaceState(null, '', base());
    if (sent.has('error')) throw new Error(`The token was refused: ${sent.get('error')}`);
    return { token: sent.get('access_token') };
  }
  if (!query.has('state')) return undefined;
  // Neither the code nor a reason stays in the address.
  history.replaceState(null, '', base() + (pending?.hash ?? ''));
  if (query.get('state') !== pending?.state) throw new Error('This login was not begun here. Try again.');
  if (query.has('error'))
    throw new Error(`The provider refuses: ${query.get('error_description') ?? query.get('error')}`);
  return tokens(await provider(), {
    grant_type: 'authorization_code',
    code: query.get('code'),
    redirect_uri: redirectUri(),
    code_verifier: pending.verifier,
  });
}

// New tokens for old ones, before those are over.
export async function renewed({ refresh, id, logout }) {
  const fresh = await tokens(await provider(), { grant_type: 'refresh_token', refresh_token: refresh });
  return { ...fresh, refresh: fresh.refresh ?? refresh, id: fresh.id ?? id, logout: fresh.logout ?? logout };
}

// Where the provider ends its own session, too; nothing if it says of no such place.
export function logoutUrl({ logout, id }, clientId) {
  if (!logout) return undefined;
  const url = new URL(logout);
  const parameters = { client_id: clientId, post_logout_redirect_uri: base(), id_token_hint: id };
  for (const [name, value] of Object.entries(parameters)) if (value) url.searchParams.set(name, value);
  return url.href;
}
