import { describe, expect, it } from 'vitest'
import { clientId, taskKey } from '../../base/ids.ts'
import { cluster, type CoreFixture, range } from './fixture.conformance.ts'

/** The client is back on a new connection, having heard so many messages. */
function reattach(core: CoreFixture, heard: number, client = 'c'): unknown {
  const request = core.request((number) => ({
    kind: 'ClientReattached',
    request: number,
    client: clientId(client),
    connection: 1000 + number,
    heard,
  }))
  return core.answer(request)
}

const countOf = (core: CoreFixture) => core.state.clients.get(clientId('c'))

describe('a client that comes back', () => {
  it('hears how many of its messages were carried out, and how many were sent to it', () => {
    const core = cluster()
    core.graph(range(2))
    core.finish('t-0')
    core.release('t-0')
    core.clientLost('c')
    expect(reattach(core, 0)).toMatchObject({ kind: 'Answer', answer: { applied: 2, told: 2, generation: 1 } })
    expect(core.timers).not.toContain('client-grace c')
    core.says('c', { op: 'client-desires-keys', keys: [taskKey('t-1')] })
    expect(countOf(core)?.applied).toBe(3)
  })

  it('takes over from a connection that the scheduler believes to be alive', () => {
    const core = cluster()
    const before = countOf(core)?.connection
    reattach(core, 0)
    expect(core.take()).toContainEqual(expect.objectContaining({ kind: 'CloseConnection', connection: before }))
    core.event({
      kind: 'ClientMessages',
      client: clientId('c'),
      connection: before as number,
      messages: [{ op: 'close-client' }],
    })
    expect(countOf(core)?.applied).toBe(0)
  })

  it('is not told anything before it asks, then how every key stands', () => {
    const core = cluster()
    core.graph({ stored: [], bad: [], running: [], lost: [] })
    core.finish('stored')
    core.fail('bad')
    core.finish('lost')
    core.told('c')
    core.clientLost('c')
    core.workerSays(core.task('lost').holders[0]?.id as string, {
      op: 'release-worker-data',
      keys: [{ key: taskKey('lost'), runId: core.task('lost').acceptedRunId as never }],
    })
    expect(core.told('c')).toEqual([])
    reattach(core, 0)
    expect(core.told('c')).toEqual([])
    core.says('c', { op: 'report-keys' })
    expect(core.told('c')).toEqual([
      { op: 'key-in-memory', key: 'stored', nbytes: 100, type: 'number' },
      expect.objectContaining({ op: 'task-erred', key: 'bad' }),
      { op: 'task-retried', keys: ['running', 'lost'] },
    ])
  })

  it('keeps its functions: what it says again may rely on them', () => {
    const core = cluster({ a: {} })
    core.graph({ x: [] })
    core.release('x')
    core.clientLost('c')
    reattach(core, 0)
    core.graph({ y: [] })
    expect(core.stateOf('y')).toBe('processing')
  })

  it('is refused when it is forgotten, and all that was kept for it goes', () => {
    const core = cluster()
    core.graph({ x: [] })
    core.clientLost('c')
    core.take()
    core.advance(30_000)
    expect(core.take()).toContainEqual({ kind: 'ForgetClient', client: 'c' })
    expect(core.stateOf('x')).toBe('forgotten')
    expect(reattach(core, 0)).toMatchObject({ kind: 'Refuse', code: 'CLIENT_CLOSED' })
  })
})

describe('the last words on a key', () => {
  function givenUp(connected: boolean): CoreFixture {
    const core = cluster()
    core.client('other')
    core.graph({ x: [], y: [] })
    core.told('c')
    if (!connected) core.clientLost('c')
    core.says('other', { op: 'cancel-keys', keys: [taskKey('x')], force: true, reason: 'enough', cancel: 1 })
    return core
  }
  const words = { op: 'cancelled-keys', keys: ['x'], reason: 'enough', code: 'TASK_CANCELLED' }

  it.each([true, false])('are said again when the connection swallowed them (it was there: %s)', (connected) => {
    const core = givenUp(connected)
    core.told('c')
    if (connected) core.clientLost('c')
    reattach(core, 0)
    core.says('c', { op: 'report-keys' })
    expect(core.told('c')).toContainEqual(words)
    // The next connection breaks as well, before the client counted them.
    core.clientLost('c')
    reattach(core, 0)
    core.says('c', { op: 'report-keys' })
    expect(core.told('c')).toContainEqual(words)
  })

  it('are forgotten when the client has heard them', () => {
    const core = givenUp(true)
    const client = countOf(core)
    expect(core.told('c')).toContainEqual(words)
    core.event({
      kind: 'ClientBeat',
      client: clientId('c'),
      connection: client?.connection as number,
      heard: client?.told as number,
    })
    expect(client?.farewells.size).toBe(0)
    core.clientLost('c')
    reattach(core, client?.told as number)
    core.says('c', { op: 'report-keys' })
    expect(core.told('c')).toEqual([{ op: 'task-retried', keys: ['y'] }])
  })

  it('are said again of a key that was refused', () => {
    const core = cluster()
    core.graph({ x: [] })
    core.client('other')
    core.graph({ x: [] }, { client: 'other', fn: 'g' })
    const refusal = core.told('other').find((message) => message.op === 'task-erred')
    expect(refusal).toMatchObject({ key: 'x' })
    core.clientLost('other')
    reattach(core, 0, 'other')
    core.says('other', { op: 'report-keys' })
    expect(core.told('other')).toContainEqual(refusal)
  })

  it('answer the client’s own cancels', () => {
    const core = cluster()
    core.graph({ x: [], y: ['x'] })
    core.says('c', { op: 'cancel-keys', keys: [taskKey('x')], force: false, reason: 'mine', cancel: 1 })
    const answer = core.told('c').find((message) => message.op === 'cancelled-keys')
    expect(answer).toMatchObject({ keys: ['y'], cancel: 1 })
    core.clientLost('c')
    reattach(core, 0)
    core.says('c', { op: 'report-keys' })
    expect(core.told('c').filter((message) => message.op === 'cancelled-keys')).toEqual([
      // First: what comes before it does not count for keys that the client asked for again.
      expect.objectContaining({ keys: [], cancel: 1 }),
      answer,
    ])
  })

  it('are not said of a key that the client has asked for anew', () => {
    const core = givenUp(true)
    core.clientLost('c')
    core.take()
    reattach(core, 0)
    core.graph({ x: [] })
    core.says('c', { op: 'report-keys' })
    expect(core.told('c')).toEqual([{ op: 'task-retried', keys: ['y', 'x'] }])
  })
})
