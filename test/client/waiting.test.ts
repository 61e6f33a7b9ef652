import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { asCompleted } from '../../src/client/as-completed.ts'
import { Client } from '../../src/client/client.ts'
import { fireAndForget } from '../../src/client/fire-and-forget.ts'
import type { Future } from '../../src/client/future.ts'
import { progress } from '../../src/client/progress.ts'
import { range } from '../../src/client/range.ts'
import { wait } from '../../src/client/wait.ts'
import { FakeCluster } from './fake-cluster.ts'

let cluster: FakeCluster
let client: Client

beforeEach(async () => {
  cluster = await FakeCluster.start(1)
  cluster.running = false
  client = await Client.connect(cluster, { timeout: '2s' })
})

afterEach(async () => {
  await client.close()
  await cluster.close()
})

const finish = (future: Future<unknown>): void =>
  cluster.tell({ op: 'key-in-memory', key: future.key as never, nbytes: 8, type: 'number' })

async function three(): Promise<[Future<number>, Future<number>, Future<number>]> {
  const futures = client.map((x: number) => x, range(3))
  await cluster.heard()
  return futures as [Future<number>, Future<number>, Future<number>]
}

describe('wait', () => {
  it('waits for all, or for the first, and says which are done', async () => {
    const [a, b, c] = await three()
    const first = wait([a, b, c], { returnWhen: 'FIRST_COMPLETED' })
    const all = wait([a, b, c])
    finish(b)
    expect(await first).toEqual({ done: [b], notDone: [a, c] })
    finish(c)
    finish(a)
    expect(await all).toEqual({ done: [a, b, c], notDone: [] })
    expect(await wait([])).toEqual({ done: [], notDone: [] })
    expect(await wait([a, b], { returnWhen: 'FIRST_COMPLETED', timeout: 1 })).toEqual({ done: [a, b], notDone: [] })
  })

  it('throws when time is up, cancelling nothing', async () => {
    const [a, b] = await three()
    finish(a)
    await a.exception()
    await expect(wait([a, b], { timeout: 10 })).rejects.toMatchObject({
      code: 'TIMEOUT',
      message: expect.stringContaining('1 of ') as string,
    })
    expect(b.status).toBe('pending')
  })

  it('throws for cancelled futures and names them by reason; failed ones are done', async () => {
    const [a, b, c] = await three()
    const waiting = wait([a, b, c])
    finish(a)
    b.cancel()
    cluster.tell({ op: 'cancelled-keys', keys: [c.key as never], reason: 'lost dependencies', code: 'TASK_CANCELLED' })
    const error = (await waiting.catch((thrown: unknown) => thrown)) as {
      code: string
      message: string
      fields: object
    }
    expect(error).toMatchObject({ code: 'TASK_CANCELLED', fields: { keys: [b.key, c.key] } })
    expect(error.message).toMatch(/cancelled by client .*lost dependencies/)
  })

  it('fails when the scheduler is gone, since nobody knows what is done', async () => {
    const [a, b] = [client.submit((x: number) => x, 1), client.submit((x: string) => x, 'b')]
    const waiting = expect(wait([a, b])).rejects.toMatchObject({ code: 'COMM_CLOSED' })
    while (cluster.sent('update-graph').length === 0) await cluster.heard()
    await cluster.close()
    await waiting
    await expect(wait([a])).rejects.toMatchObject({ code: 'COMM_CLOSED' })
  })

  it('holds its futures meanwhile', async () => {
    const [a, b] = await three()
    const waiting = expect(wait([a, b])).rejects.toMatchObject({ code: 'TASK_CANCELLED' })
    a.release()
    b.release()
    await cluster.heard()
    expect(cluster.sent('client-releases-keys')).toEqual([])
    await Promise.all([client.close(), waiting])
  })
})

describe('asCompleted', () => {
  it('yields in the order of completion, whatever the outcome, and one added twice twice', async () => {
    const [a, b, c] = await three()
    const completed = asCompleted([a, b, c, b])
    finish(c)
    expect((await completed.next()).value).toBe(c)
    b.cancel()
    finish(a)
    expect(completed.size).toBe(3)
    const rest: Future<number>[] = []
    for await (const future of completed) rest.push(future)
    expect(rest).toEqual([b, b, a])
  })

  it('takes more futures at once than a call may have arguments', () => {
    const future = client.submit(() => 1)
    const many = Array.from({ length: 200_000 }, () => future)
    expect(asCompleted(many).size).toBe(200_000)
  })

  it('takes more while it runs', async () => {
    const [a, b] = await three()
    finish(a)
    finish(b)
    const completed = asCompleted([a])
    const seen: Future<number>[] = []
    for await (const future of completed) {
      seen.push(future)
      if (future === a) completed.add(b)
    }
    expect(seen).toEqual([a, b])
  })

  it('gives values, and throws the error of a task in its place', async () => {
    cluster.running = true
    const good = client.map((x: number) => x * 10, range(20))
    const pairs: [Future<number>, number][] = []
    for await (const pair of asCompleted(good, { withResults: true })) pairs.push(pair)
    expect(new Map(pairs)).toEqual(new Map(good.map((future, index) => [future, index * 10])))
    const bad = client.submit(() => {
      throw new Error('no')
    })
    const loop = async () => {
      for await (const [, value] of asCompleted([bad], { withResults: true })) expect(value).toBeUndefined()
    }
    await expect(loop()).rejects.toThrow('no')
  })
})

describe('fireAndForget', () => {
  it('tells the scheduler to finish what nobody holds', async () => {
    const [a, b] = await three()
    fireAndForget([a, { b }])
    a.release()
    await cluster.heard()
    expect(cluster.sent('fire-and-forget').map((message) => message.keys)).toEqual([[a.key, b.key]])
    expect(() => fireAndForget(new Date() as never)).toThrow(/A future is needed/)
  })
})

describe('progress', () => {
  const capture = (isTTY: boolean) => {
    let text = ''
    return { stream: { isTTY, columns: 80, write: (more: string) => (text += more) }, text: () => text }
  }

  it('draws a bar per function and puts the terminal right', async () => {
    const adding = client.map((x: number) => x, range(2))
    const failing = client.submit(function broken(): number {
      throw new Error('no')
    })
    const screen = capture(true)
    const interrupts = process.listenerCount('SIGINT')
    const done = progress([...adding, failing], { stream: screen.stream })
    expect(process.listenerCount('SIGINT')).toBe(interrupts + 1)
    await cluster.heard()
    await cluster.run()
    await done
    const lines = screen.text().split('\n')
    expect(screen.text().startsWith('\u001B[?25l')).toBe(true)
    expect(screen.text().endsWith('\u001B[?25h')).toBe(true)
    expect(lines.at(-3)).toMatch(/lambda\s+\[#+\]\s+2\/2 /)
    expect(lines.at(-2)).toMatch(/broken\s+\[#+\]\s+1\/1 .*1 failed$/)
    expect(lines.every((line) => (line.split('\u001B[2K').at(-1) ?? '').length < 80)).toBe(true)
    expect(process.listenerCount('SIGINT')).toBe(interrupts)
  })

  it('says nothing where there is no terminal, and ends with its futures or its time', async () => {
    const [a, b, c] = await three()
    const screen = capture(false)
    finish(a)
    b.cancel()
    await expect(progress([a, b, c], { stream: screen.stream, timeout: 5 })).rejects.toMatchObject({ code: 'TIMEOUT' })
    finish(c)
    await progress([a, b, c], { stream: screen.stream })
    await progress([])
    expect(screen.text()).toBe('')
  })
})
