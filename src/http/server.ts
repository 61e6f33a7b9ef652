// A small read-only HTTP server for people, probes and scrapers: GET and HEAD only, JSON and text, no state of its own.
//
// H1. Nothing here changes anything, and nothing needs a token: it listens on loopback unless it was told otherwise.
// H2. The Host header has to be an IP address, localhost or this machine's name: a web page that got hold of a name
//     for our address (DNS rebinding) is refused. No CORS headers are sent.
// H3. A client that is slow, silent or one too many is closed; what a route throws is a 500 with one line, logged.

import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { isIP } from 'node:net'
import { hostname } from 'node:os'
import { partLogger } from '../base/part-logger.ts'
import { PlimsollError, toError } from '../errors/plimsoll-error.ts'
import { type HttpAddress, httpLink } from './address.ts'

export interface HttpReply {
  readonly status: number
  readonly type: string
  readonly body: string
}

/** `rest`: what follows the route's path, decoded; empty for a route that does not end in a slash. */
export type HttpRoute = (rest: string) => HttpReply | Promise<HttpReply>

export interface HttpServerOptions extends HttpAddress {
  /** By path; one that ends in a slash gets everything below it. */
  readonly routes: Readonly<Record<string, HttpRoute>>
}

/** Ports tried after one that is taken. */
const NEXT_PORTS = 100
const HEADERS_MS = 5000
const REQUEST_MS = 10_000
const IDLE_MS = 5000
const CONNECTIONS_MAX = 64

const log = partLogger('http')

export class HttpServer {
  readonly link: string
  readonly #server: Server

  private constructor(server: Server, link: string) {
    this.#server = server
    this.link = link
  }

  /**
   * Listens; when the port is taken, on the next one that is free.
   * @throws PlimsollError CONNECT_FAILED when there is none, or the interface is not of this machine.
   */
  static async listen({ host, port, routes }: HttpServerOptions): Promise<HttpServer> {
    // Asked for here: not every process that could serve does, and loading it takes 7 ms of CPU.
    const server = process
      .getBuiltinModule('node:http')
      .createServer(
        { headersTimeout: HEADERS_MS, requestTimeout: REQUEST_MS, keepAliveTimeout: IDLE_MS },
        (request, response) => void answer(request, response, routes),
      )
    server.maxConnections = CONNECTIONS_MAX
    const taken = await listenFrom(server, host, port)
    if (port !== 0 && taken !== port)
      log.info('port {port} is taken; HTTP is served at port {taken} instead', { port, taken })
    return new HttpServer(server, httpLink({ host, port: taken }))
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    this.#server.closeAllConnections()
    await closed
  }
}

export function json(value: unknown, status = 200): HttpReply {
  return { status, type: 'application/json; charset=utf-8', body: `${JSON.stringify(value)}\n` }
}

export function text(body: string, type = 'text/plain; charset=utf-8'): HttpReply {
  return { status: 200, type, body }
}

export function notFound(what: string): HttpReply {
  return json({ error: `${what} is not known here` }, 404)
}

async function listenFrom(server: Server, host: string, port: number): Promise<number> {
  for (let candidate = port; ; candidate++) {
    try {
      return await listenAt(server, host, candidate)
    } catch (error) {
      const taken = (error as NodeJS.ErrnoException).code === 'EADDRINUSE' && port !== 0
      if (taken && candidate < Math.min(65_535, port + NEXT_PORTS)) continue
      const message = `HTTP cannot be served at ${host}:${candidate}: ${toError(error).message}. Choose another address, or none.`
      throw new PlimsollError('CONNECT_FAILED', message, { host, port: candidate }, { cause: error })
    }
  }
}

function listenAt(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.removeListener('error', reject)
      const address = server.address()
      resolve(typeof address === 'object' && address !== null ? address.port : port)
    })
  })
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  routes: HttpServerOptions['routes'],
): Promise<void> {
  const reply = await replyTo(request, routes)
  response.writeHead(reply.status, {
    'content-type': reply.type,
    'content-length': Buffer.byteLength(reply.body),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...(reply.status === 405 ? { allow: 'GET, HEAD' } : {}),
  })
  response.end(request.method === 'HEAD' ? undefined : reply.body)
}

async function replyTo(request: IncomingMessage, routes: HttpServerOptions['routes']): Promise<HttpReply> {
  if (!isOurName(request.headers.host)) {
    return json({ error: 'the Host header has to be an IP address, localhost or the name of this machine' }, 403)
  }
  if (request.method !== 'GET' && request.method !== 'HEAD') return json({ error: 'only GET and HEAD' }, 405)
  const found = findRoute(request.url ?? '/', routes)
  if (found === null) return notFound(request.url ?? '/')
  try {
    return await found.route(found.rest)
  } catch (thrown) {
    const error = toError(thrown)
    log.error('{url} failed: {stack}', { url: request.url, stack: error.stack })
    return json({ error: error.message }, 500)
  }
}

function findRoute(url: string, routes: HttpServerOptions['routes']): { route: HttpRoute; rest: string } | null {
  const path = url.split(/[?#]/, 1)[0] as string
  if (Object.hasOwn(routes, path)) return { route: routes[path] as HttpRoute, rest: '' }
  const parent = Object.keys(routes).find((route) => route.endsWith('/') && path.startsWith(route))
  if (parent === undefined) return null
  try {
    return { route: routes[parent] as HttpRoute, rest: decodeURIComponent(path.slice(parent.length)) }
  } catch {
    // Not percent-encoded as it should be: no such path.
    return null
  }
}

/** H2. */
function isOurName(header: string | undefined): boolean {
  if (header === undefined) return false
  const name = header.replace(/:\d+$/, '').toLowerCase()
  return isIP(name.replace(/^\[|\]$/g, '')) !== 0 || name === 'localhost' || name === hostname().toLowerCase()
}
