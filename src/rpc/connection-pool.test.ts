import { describe, expect, it } from 'vitest'
import { deferred, type Deferred } from '../base/deferred.ts'
import { ConnectionPool, type ConnectionPoolOptions, type Poolable } from './connection-pool.ts'

class FakeConnection implements Poolable {
  readonly address: string
  closed = false
  #handlers: ((reason: Error | null) => void)[] = []

  constructor(address: string) {
    this.address = address
  }

  onClose(handler: (reason: Error | null) => void): void {
    this.#handlers.push(handler)
  }

  close(): Promise<void> {
    this.abort()
    return Promise.resolve()
  }

  abort(): void {
    if (this.closed) return
    this.closed = true
    for (const handler of this.#handlers) handler(null)
  }
}

function setup(options: Partial<ConnectionPoolOptions<FakeConnection>> = {}) {
  const made: FakeConnection[] = []
  const pool = new ConnectionPool<FakeConnection>({
    connect: (address) => {
      const connection = new FakeConnection(address)
      made.push(connection)
      return Promise.resolve(connection)
    },
    ...options,
  })
  return { pool, made }
}

/** A use that lasts until it is told to end. */
function hold(
  pool: ConnectionPool<FakeConnection>,
  address: string,
): { started: Promise<FakeConnection>; done: Promise<void>; end: Deferred<void> } {
  const end = deferred()
  const begin = deferred<FakeConnection>()
  const done = pool.use(address, async (connection) => {
    begin.resolve(connection)
    await end.promise
  })
  done.catch((error: unknown) => begin.reject(error))
  return { started: begin.promise, done, end }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

describe('ConnectionPool', () => {
  it('uses a connection again, one user at a time', async () => {
    const { pool, made } = setup()
    const first = hold(pool, 'a')
    await first.started
    const second = hold(pool, 'a')
    await second.started
    expect(made).toHaveLength(2)
    first.end.resolve()
    second.end.resolve()
    await Promise.all([first.done, second.done])
    await pool.use('a', async (connection) => expect(made).toContain(connection))
    expect(made).toHaveLength(2)
    expect(pool.open).toBe(2)
  })

  it('gives what is returned to whoever waits, with one attempt per address under way', async () => {
    const attempts: Deferred<FakeConnection>[] = []
    const { pool } = setup({
      connect: () => {
        const attempt = deferred<FakeConnection>()
        attempts.push(attempt)
        return attempt.promise
      },
    })
    const uses = [hold(pool, 'a'), hold(pool, 'a'), hold(pool, 'a')]
    await turn()
    expect(attempts).toHaveLength(1)
    const connection = new FakeConnection('a')
    attempts[0]?.resolve(connection)
    for (const use of uses) {
      expect(await use.started).toBe(connection)
      use.end.resolve()
      await use.done
    }
    expect(attempts).toHaveLength(2)
  })

  it('gives back a connection after a failure of its user', async () => {
    const { pool, made } = setup()
    await expect(pool.use('a', () => Promise.reject(new Error('mine')))).rejects.toThrow('mine')
    await pool.use('a', () => Promise.resolve())
    expect(made).toHaveLength(1)
  })

  it('fails all who wait when the attempt fails, and tries anew for the next', async () => {
    let fail = true
    const { pool } = setup({
      connect: (address) =>
        fail ? Promise.reject(new Error('refused')) : Promise.resolve(new FakeConnection(address)),
    })
    const uses = [pool.use('a', () => Promise.resolve()), pool.use('a', () => Promise.resolve())]
    expect((await Promise.allSettled(uses)).map(({ status }) => status)).toEqual(['rejected', 'rejected'])
    fail = false
    await pool.use('a', () => Promise.resolve())
    expect(pool.open).toBe(1)
  })

  it('never opens more than the limit: closes an idle one elsewhere, else waits', async () => {
    const { pool, made } = setup({ limit: 2 })
    await pool.use('a', () => Promise.resolve())
    const b = hold(pool, 'b')
    const c = hold(pool, 'c')
    await Promise.all([b.started, c.started])
    expect(made[0]?.closed).toBe(true)
    const d = hold(pool, 'd')
    await turn()
    expect(made.map(({ address }) => address)).toEqual(['a', 'b', 'c'])
    b.end.resolve()
    expect((await d.started).address).toBe('d')
    expect(made[1]?.closed).toBe(true)
    expect(pool.open).toBe(2)
    c.end.resolve()
    d.end.resolve()
    await Promise.all([b.done, c.done, d.done])
  })

  it('replaces connections that broke, idle or in use', async () => {
    const { pool, made } = setup()
    await pool.use('a', () => Promise.resolve())
    made[0]?.abort()
    expect(pool.open).toBe(0)
    await pool.use('a', async (connection) => connection.abort())
    expect(pool.open).toBe(0)
    await pool.use('a', () => Promise.resolve())
    expect(made).toHaveLength(3)
  })

  it('makes room for others when a connection breaks', async () => {
    const { pool } = setup({ limit: 1 })
    const a = hold(pool, 'a')
    const connection = await a.started
    const b = hold(pool, 'b')
    await turn()
    connection.abort()
    await b.started
    a.end.resolve()
    b.end.resolve()
    await Promise.all([a.done, b.done])
  })

  it('closes what is idle for too long', async () => {
    const { pool, made } = setup({ idleMs: 10 })
    await pool.use('a', () => Promise.resolve())
    await new Promise<void>((resolve) => made[0]?.onClose(() => resolve()))
    expect(pool.open).toBe(0)
  })

  it('ends everything about an address that is removed', async () => {
    const { pool, made } = setup({ limit: 2 })
    await pool.use('a', () => Promise.resolve())
    const lent = hold(pool, 'a')
    await lent.started
    const other = hold(pool, 'b')
    await other.started
    const waiting = hold(pool, 'a')
    await turn()
    pool.remove('a')
    await expect(waiting.done).rejects.toMatchObject({ code: 'COMM_CLOSED' })
    expect(made[0]?.closed).toBe(true)
    expect(made[1]?.closed).toBe(false)
    lent.end.resolve()
    await lent.done
    await pool.use('a', () => Promise.resolve())
    other.end.resolve()
    await other.done
  })

  it('drops a connection that arrives after its address was removed', async () => {
    const attempt = deferred<FakeConnection>()
    const { pool } = setup({ connect: () => attempt.promise })
    const use = pool.use('a', () => Promise.resolve())
    pool.remove('a')
    await expect(use).rejects.toMatchObject({ code: 'COMM_CLOSED' })
    const late = new FakeConnection('a')
    attempt.resolve(late)
    await turn()
    expect(late.closed).toBe(true)
    expect(pool.open).toBe(0)
  })

  it('takes no one after it was closed', async () => {
    const { pool, made } = setup()
    await pool.use('a', () => Promise.resolve())
    await pool.close()
    expect(made[0]?.closed).toBe(true)
    await expect(pool.use('a', () => Promise.resolve())).rejects.toMatchObject({ code: 'COMM_CLOSED' })
  })
})
