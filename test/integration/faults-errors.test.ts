// What a task's failure looks like to whoever waits for it, and what it leaves alone: worker, executor, stored values.

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Future, PlimsollError, task } from '../../dist/index.js'
import { FaultCluster } from './fault-cluster.ts'

let faults: FaultCluster
beforeAll(async () => {
  faults = await FaultCluster.start({ config: { 'scheduler.allowed-failures': 1 } })
})
afterAll(() => faults[Symbol.asyncDispose]())

async function pids(): Promise<readonly number[]> {
  const { pid, executors } = await faults.worker()
  return [pid, ...executors.map((executor) => executor.pid)]
}

async function errorOf(future: Future<unknown>): Promise<Error & { readonly plimsoll?: unknown }> {
  return await future.result().then(
    () => {
      throw new Error('it did not fail')
    },
    (error: unknown) => error as Error,
  )
}

/** Runs `harm`; afterwards the same processes live, and what was stored is intact. */
async function unharmed(harm: () => Promise<void>): Promise<void> {
  const { client } = faults
  const stored = client.submit((n: number) => new Float64Array(n).fill(7), 50_000)
  await stored.result()
  const before = await pids()
  await harm()
  expect(await pids()).toEqual(before)
  expect((await stored.result()).every((x) => x === 7)).toBe(true)
  expect(await client.submit((a: Float64Array) => a.length, stored).result()).toBe(50_000)
}

describe('what cannot be sent', () => {
  it('acceptance 9: as a result fails the task with the path, and nothing else', async () => {
    await unharmed(async () => {
      const error = await errorOf(faults.client.submit(() => ({ rows: [{ id: 1 }, { onClick() {} }] })))
      expect(error).toMatchObject({ code: 'NOT_SERIALIZABLE' })
      expect(error.message).toContain('result.rows[1].onClick')
    })
  })

  it('as an argument throws at submit, with the path', () => {
    const argument = { rows: [{ onClick: () => 1 }] }
    expect(() => faults.client.submit((x: unknown) => x, argument)).toThrow(
      expect.objectContaining({
        code: 'NOT_SERIALIZABLE',
        message: expect.stringContaining('argument 0.rows[0].onClick') as string,
      }),
    )
  })

  it('as an argument says to await a promise', () => {
    expect(() => faults.client.submit((x: unknown) => x, Promise.resolve(1))).toThrow(/argument 0.*await it first/)
  })

  it('as a function is refused by the name of its free variable', () => {
    const factor = Math.random()
    expect(() => faults.client.submit((x: number) => x * factor, 2)).toThrow(
      expect.objectContaining({ code: 'CANNOT_CAPTURE', message: expect.stringContaining('factor') as string }),
    )
  })
})

describe('what a task throws', () => {
  it('arrives as that error: class, message, stack, cause, own properties', async () => {
    await unharmed(async () => {
      const failing = faults.client.submit(function parseRow(line: string) {
        class ParseError extends TypeError {
          override readonly name = 'ParseError'
          readonly line = line
          readonly at = { column: 3 }
        }
        throw new ParseError(`bad row: ${line}`, { cause: new RangeError('inner', { cause: 'root' }) })
      }, 'a,b')
      const error = await errorOf(failing)
      expect(error).toMatchObject({ name: 'ParseError', message: 'bad row: a,b', line: 'a,b', at: { column: 3 } })
      expect(error).toBeInstanceOf(Error)
      expect(error.stack).toContain('parseRow')
      expect(error.cause).toBeInstanceOf(RangeError)
      expect(error.cause).toMatchObject({ message: 'inner', cause: 'root' })
      expect(error.plimsoll).toMatchObject({ key: failing.key, worker: (await faults.worker()).address })
    })
  })

  it('arrives with the members of an AggregateError', async () => {
    const error = await errorOf(
      faults.client.submit(async () => Promise.any([Promise.reject(new TypeError('one')), Promise.reject('two')])),
    )
    expect(error).toBeInstanceOf(AggregateError)
    const { errors } = error as AggregateError
    expect(errors[0]).toBeInstanceOf(TypeError)
    expect(errors[0]).toMatchObject({ message: 'one' })
    expect(errors[1]).toBe('two')
  })

  it('keeps the name of a DOMException, and is an error when it was none', async () => {
    const refused = await errorOf(faults.client.submit(() => structuredClone(() => 1)))
    expect(refused.name).toBe('DataCloneError')
    const text = await errorOf(
      faults.client.submit(() => {
        // oxlint-disable-next-line no-throw-literal
        throw 'just a text'
      }),
    )
    expect(text).toBeInstanceOf(Error)
    expect(text.message).toContain('just a text')
  })

  it('fails what depends on it, which names the task that failed', async () => {
    const { client } = faults
    const root = client.submit(
      task(
        (x: number): number => {
          throw new Error(`no ${x}`)
        },
        { key: 'the-root' },
      ),
      1,
    )
    const leaf = client.submit(
      (x: number) => x,
      client.submit((x: number) => x + 1, root),
    )
    const error = await errorOf(leaf)
    expect(error.message).toBe('no 1')
    expect(error.plimsoll).toMatchObject({ key: 'the-root', worker: (await faults.worker()).address })
    expect(await leaf.exception()).toBe(error)
    // Submitted after the failure.
    const late = await errorOf(client.submit((x: number) => x * 2, root))
    expect(late.plimsoll).toMatchObject({ key: 'the-root' })
    const gathered = await client.gather([leaf, client.submit((x: number) => x, 5)], { errors: 'return' })
    expect(gathered[1]).toBe(5)
    expect(gathered[0]).toMatchObject({ message: 'no 1' })
  })

  it('outside of the call ends the executor, is blamed on the task, and spares the worker', async () => {
    const [worker] = await pids()
    const error = await errorOf(
      faults.client.submit(async () => {
        setTimeout(() => {
          throw new Error('from a timer')
        }, 10)
        await new Promise((resolve) => setTimeout(resolve, 10_000))
      }),
    )
    expect(error).toBeInstanceOf(PlimsollError)
    expect(error).toMatchObject({ code: 'TASK_CRASHED' })
    expect(error.message).toContain('from a timer')
    expect((await pids())[0]).toBe(worker)
    expect(await faults.client.submit((x: number) => x, 3).result()).toBe(3)
  })
})
