import { request } from 'node:http'
import { afterEach, describe, expect, it } from 'vitest'
import { HttpServer, json, text } from './server.ts'

const servers: HttpServer[] = []
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()))
})

async function serve(port = 0): Promise<HttpServer> {
  const server = await HttpServer.listen({
    host: '127.0.0.1',
    port,
    routes: {
      '/health': () => text('ok\n'),
      '/api/things/': (rest) => json({ rest }),
      '/broken': () => {
        throw new Error('it is broken')
      },
    },
  })
  servers.push(server)
  return server
}

interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, unknown>>
  readonly body: string
}

function ask(link: string, path: string, options: { method?: string; host?: string } = {}): Promise<Answer> {
  const { method = 'GET', host } = options
  return new Promise((resolve, reject) => {
    const asking = request(`${link}${path}`, { method, headers: host === undefined ? {} : { host } }, (response) => {
      let body = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => (body += chunk))
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }))
    })
    asking.on('error', reject)
    asking.end()
  })
}

describe('the HTTP server', () => {
  it('answers its routes, exact ones and those below a path', async () => {
    const { link } = await serve()
    expect(await ask(link, '/health?x=1')).toMatchObject({ status: 200, body: 'ok\n' })
    const below = await ask(link, '/api/things/a%20b%2Fc')
    expect(JSON.parse(below.body)).toEqual({ rest: 'a b/c' })
    expect(below.headers['access-control-allow-origin']).toBeUndefined()
  })

  it('HEAD has no body, other methods and unknown paths are refused, also hostile ones', async () => {
    const { link } = await serve()
    expect(await ask(link, '/health', { method: 'HEAD' })).toMatchObject({ status: 200, body: '' })
    expect(await ask(link, '/health', { method: 'POST' })).toMatchObject({ status: 405 })
    for (const path of ['/', '/nothing', '/constructor', '/__proto__', '/api/things/%zz', '/../etc/passwd'])
      expect(await ask(link, path), path).toMatchObject({ status: 404 })
  })

  it('a route that throws is a 500 with one line; the next question is answered', async () => {
    const { link } = await serve()
    const broken = await ask(link, '/broken')
    expect(broken.status).toBe(500)
    expect(JSON.parse(broken.body)).toEqual({ error: 'it is broken' })
    expect(await ask(link, '/health')).toMatchObject({ status: 200 })
  })

  it('refuses names that are not ours (DNS rebinding)', async () => {
    const { link } = await serve()
    expect(await ask(link, '/health', { host: 'evil.example:80' })).toMatchObject({ status: 403 })
    for (const host of ['localhost:1', '127.0.0.1', '[::1]:8787', '10.0.0.1:1'])
      expect(await ask(link, '/health', { host }), host).toMatchObject({ status: 200 })
  })

  it('takes the next free port, and says so when there is no such interface', async () => {
    const first = await serve()
    const port = Number(new URL(first.link).port)
    const second = await serve(port)
    expect(Number(new URL(second.link).port)).toBeGreaterThan(port)
    await expect(HttpServer.listen({ host: '192.0.2.1', port: 0, routes: {} })).rejects.toMatchObject({
      code: 'CONNECT_FAILED',
    })
  })
})
