// Beyond loopback every byte is encrypted: two network namespaces joined by a virtual cable stand for two machines. The
// processes run the built code, since each needs a namespace of its own.

import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'

const COMM = fileURLToPath(new URL('../../dist/comm/index.js', import.meta.url))
const TOKEN = 'c0ffee'.repeat(10)
const id = `${process.pid}`
const [here, there] = [`plh${id}`, `plt${id}`]
const [HERE, THERE] = ['10.213.77.1', '10.213.77.2']

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: 'pipe' })
}

/** Why the test cannot run; null when it can. */
function obstacle(): string | null {
  if (process.platform !== 'linux') return 'network namespaces exist on Linux only'
  if (process.getuid?.() !== 0) return 'making network namespaces needs root'
  if (spawnSync('ip', ['-V']).status !== 0) return 'the program "ip" is not installed'
  const probe = `plp${id}`
  const made = spawnSync('ip', ['netns', 'add', probe], { encoding: 'utf8' })
  if (made.status !== 0) return `network namespaces are not allowed here: ${made.stderr.trim()}`
  spawnSync('ip', ['netns', 'del', probe])
  return existsSync(COMM) ? null : 'the package is not built'
}

interface Side {
  readonly token?: string | null
  readonly insecurePlaintext?: boolean
}

const credentials = ({ token = TOKEN, insecurePlaintext = false }: Side): string =>
  JSON.stringify({ token, tls: null, insecurePlaintext })

const listenerProgram = (host: string, side: Side): string => `
  import { listen } from ${JSON.stringify(COMM)}
  const listener = await listen('tcp://${host}:0', {
    role: 'scheduler', credentials: ${credentials(side)}, protocolVersion: 1, clusterId: 'c',
    onComm: (comm) => comm.onMessage((frames) => comm.send(frames)),
  })
  console.log(listener.address)
`

const connectorProgram = (address: string, side: Side): string => `
  import { connect } from ${JSON.stringify(COMM)}
  try {
    const comm = await connect('${address}', { role: 'client', credentials: ${credentials(side)}, protocolVersion: 1, timeoutMs: 4000 })
    const echo = new Promise((resolve) => comm.onMessage(([frame]) => resolve(String(frame))))
    comm.send([Buffer.from('PLAINLY-VISIBLE')])
    console.log('echo ' + (await echo))
    await comm.close()
  } catch (error) {
    console.log(error.code + ' ' + error.message)
  }
`

const command = (namespace: string, program: string): string[] => [
  'netns',
  'exec',
  namespace,
  process.execPath,
  '--input-type=module',
  '-e',
  program,
]

const reason = obstacle()

if (reason !== null) {
  it.skip(`tcp between network namespaces needs what this machine does not have: ${reason}`, () => {})
} else {
  describe('tcp between two hosts', () => {
    const children: ChildProcess[] = []

    beforeAll(() => {
      ip('netns', 'add', here)
      ip('netns', 'add', there)
      ip('link', 'add', here, 'type', 'veth', 'peer', 'name', there)
      for (const [name, address] of [
        [here, HERE],
        [there, THERE],
      ] as const) {
        ip('link', 'set', name, 'netns', name)
        ip('-n', name, 'addr', 'add', `${address}/24`, 'dev', name)
        ip('-n', name, 'link', 'set', name, 'up')
        ip('-n', name, 'link', 'set', 'lo', 'up')
      }
    })

    afterEach(() => {
      for (const child of children.splice(0)) child.kill('SIGKILL')
    })

    afterAll(() => {
      spawnSync('ip', ['netns', 'del', here])
      spawnSync('ip', ['netns', 'del', there])
    })

    /** Starts a listener in its namespace; resolves with its address. */
    function startListener(host: string, side: Side = {}): Promise<string> {
      const child = spawn('ip', command(here, listenerProgram(host, side)), { stdio: ['ignore', 'pipe', 'inherit'] })
      children.push(child)
      return new Promise((resolve, reject) => {
        child.stdout?.once('data', (line: Buffer) => resolve(line.toString().trim()))
        child.once('exit', () => reject(new Error('the listener ended')))
      })
    }

    function connectFrom(namespace: string, address: string, side: Side = {}): string {
      return execFileSync('ip', command(namespace, connectorProgram(address, side)), {
        encoding: 'utf8',
        timeout: 15_000,
      }).trim()
    }

    it('is encrypted with a key made from the token', async () => {
      const address = await startListener(HERE)
      expect(connectFrom(there, address)).toBe('echo PLAINLY-VISIBLE')
    })

    it('is refused with another token', async () => {
      const address = await startListener(HERE)
      expect(connectFrom(there, address, { token: 'decade'.repeat(10) })).toMatch(/^AUTH_FAILED .*PLIMSOLL_TOKEN/)
    })

    it('is never plain because one end wants it so', async () => {
      const secure = await startListener(HERE)
      expect(connectFrom(there, secure, { insecurePlaintext: true })).toMatch(/^AUTH_FAILED .*only encrypted/)
      expect(connectFrom(there, secure, { token: null, insecurePlaintext: true })).toMatch(
        /^AUTH_FAILED .*only encrypted/,
      )
    })

    it('is plain when both ends say so, and still asks for the token', async () => {
      const insecure = await startListener(HERE, { insecurePlaintext: true })
      expect(connectFrom(there, insecure, { insecurePlaintext: true })).toBe('echo PLAINLY-VISIBLE')
      expect(connectFrom(there, insecure, { insecurePlaintext: true, token: 'decade'.repeat(10) })).toMatch(
        /^AUTH_FAILED/,
      )
      expect(connectFrom(there, insecure)).toBe('echo PLAINLY-VISIBLE')
    })

    it('serves a wildcard: its own host by loopback, others encrypted', async () => {
      const address = await startListener('0.0.0.0')
      const port = address.split(':').at(-1)
      expect(address).toBe(`tcp://${HERE}:${port}`)
      expect(connectFrom(here, `tcp://127.0.0.1:${port}`)).toBe('echo PLAINLY-VISIBLE')
      expect(connectFrom(there, address)).toBe('echo PLAINLY-VISIBLE')
      expect(connectFrom(here, address)).toBe('echo PLAINLY-VISIBLE')
    })
  })
}
