import { describe, expect, it } from 'vitest'
import { functionId, taskKey } from '../base/ids.ts'
import type { ClientToScheduler } from '../protocol/scheduler-client.ts'
import type { TaskOptionsWire, TaskRow } from '../protocol/tasks.ts'
import { GraphBatch } from './graph-batch.ts'

type UpdateGraph = Extract<ClientToScheduler, { readonly op: 'update-graph' }>

const NO_BYTES = new Uint8Array(0)

function graph(fn: string, keys: readonly string[], options: TaskOptionsWire = {}, withCode = false): UpdateGraph {
  return {
    op: 'update-graph',
    groups: [{ fn: functionId(fn), name: fn, options, tasks: keys.map((key) => [taskKey(key), NO_BYTES, []]) }],
    functions: withCode ? [{ id: functionId(fn), bytes: NO_BYTES }] : [],
    wanted: keys.map(taskKey),
  }
}

/** A map of `fn` over the values of these keys: task `n` of it is called by its own name and number. */
function mapOf(fn: string, inputs: readonly string[], args = NO_BYTES): UpdateGraph {
  const keys = inputs.map((_, n) => taskKey(`${fn}${n}`))
  const tasks = keys.map((key, n): TaskRow => [key, args, [taskKey(inputs[n] as string)]])
  const groups = [{ fn: functionId(fn), name: fn, options: {}, tasks }]
  return { op: 'update-graph', groups, functions: [], wanted: keys }
}

const keysOf = (prefix: string, count: number) => Array.from({ length: count }, (_, n) => `${prefix}${n}`)

/** Tasks of each message. */
function sizes(messages: readonly ClientToScheduler[]): number[] {
  return messages.map((message) =>
    message.op === 'update-graph' ? message.groups.reduce((sum, { tasks }) => sum + tasks.length, 0) : 0,
  )
}

/** Each graph as the keys of its groups. */
function shapes(messages: readonly ClientToScheduler[]): unknown[] {
  return messages.map((message) =>
    message.op === 'update-graph' ? message.groups.map(({ tasks }) => tasks.map(([key]) => key)) : message.op,
  )
}

function batch(): { graphs: GraphBatch; sent: ClientToScheduler[] } {
  const sent: ClientToScheduler[] = []
  return { graphs: new GraphBatch((message) => sent.push(message)), sent }
}

describe('GraphBatch', () => {
  it('joins single tasks of one turn, those of one kind into one group', async () => {
    const { graphs, sent } = batch()
    const twice = { retries: 2 }
    graphs.send(graph('f', ['a'], {}, true))
    graphs.send(graph('f', ['b']))
    graphs.send(graph('g', ['c'], {}, true))
    graphs.send(graph('f', ['d'], twice))
    graphs.send(graph('f', ['e'], twice))
    graphs.send(graph('f', ['f'], { retries: 2 }))
    expect(sent).toEqual([])
    await Promise.resolve()
    expect(shapes(sent)).toEqual([[['a', 'b'], ['c'], ['d', 'e'], ['f']]])
    expect(sent[0]).toMatchObject({
      functions: [{ id: 'f' }, { id: 'g' }],
      wanted: ['a', 'b', 'c', 'd', 'e', 'f'],
      groups: [{ options: {} }, { name: 'g' }, { options: twice }, { options: twice }],
    })
  })

  it('lets nothing overtake what is open, and leaves what was sent alone', async () => {
    const { graphs, sent } = batch()
    const first = graph('f', ['a'])
    graphs.send(first)
    graphs.send({ op: 'client-releases-keys', keys: [taskKey('a')] })
    graphs.send(graph('f', ['b']))
    graphs.send(graph('g', ['c', 'd']))
    graphs.send(graph('f', ['e']))
    graphs.flush()
    graphs.send(graph('f', ['g']))
    expect(shapes(sent)).toEqual([[['a']], 'client-releases-keys', [['b'], ['c', 'd'], ['e']]])
    expect(first.groups[0]?.tasks).toHaveLength(1)
    await Promise.resolve()
    expect(shapes(sent.slice(3))).toEqual([[['g']]])
  })

  it('joins maps as well: a value is followed by what is made of it, in one graph', async () => {
    const { graphs, sent } = batch()
    const blocks = graph('make', ['b0', 'b1'], {}, true)
    graphs.send(blocks)
    graphs.send(mapOf('sum', ['b0', 'b1']))
    graphs.send(mapOf('more', ['sum0', 'sum1']))
    graphs.send(graph('make', ['b2', 'b3']))
    expect(sent).toEqual([])
    await Promise.resolve()
    expect(shapes(sent)).toEqual([
      [
        ['b0', 'b1'],
        ['sum0', 'sum1'],
        ['more0', 'more1'],
        ['b2', 'b3'],
      ],
    ])
    expect(sent[0]).toMatchObject({
      functions: [{ id: 'make' }],
      wanted: ['b0', 'b1', 'sum0', 'sum1', 'more0', 'more1', 'b2', 'b3'],
    })
    expect(blocks.groups[0]?.tasks).toHaveLength(2)
  })

  it('does not wait for the end of a long loop of tasks that do not need one another', () => {
    const { graphs, sent } = batch()
    graphs.send(graph('make', ['x']))
    graphs.flush()
    for (let n = 0; n < 2500; n++) graphs.send(n % 2 === 0 ? graph('f', [`f${n}`]) : mapOf(`g${n}-`, ['x']))
    expect(sizes(sent)).toEqual([1, 1024, 1024])
    graphs.flush()
    const keys = shapes(sent).flat(2)
    expect(keys).toEqual(['x', ...Array.from({ length: 2500 }, (_, n) => (n % 2 === 0 ? `f${n}` : `g${n}-0`))])
  })

  it('lets a large map go out in its parts', () => {
    const { graphs, sent } = batch()
    for (const part of ['a', 'b']) graphs.send(graph('f', keysOf(part, 1024)))
    expect(sizes(sent)).toEqual([1024, 1024])
  })

  it('collects more once a task needs another one of the open graph, up to a bound', async () => {
    const { graphs, sent } = batch()
    graphs.send(graph('make', keysOf('b', 1000)))
    graphs.send(mapOf('sum', keysOf('b', 1000)))
    for (let n = 0; n < 15; n++) graphs.send(graph(`f${n}`, keysOf(`f${n}-`, 1000)))
    expect(sizes(sent)).toEqual([16_000])
    await Promise.resolve()
    expect(sizes(sent)).toEqual([16_000, 1000])
  })

  it('does not gather more arguments in a message than a part may have', () => {
    const { graphs, sent } = batch()
    const args = new Uint8Array(20 * 2 ** 20)
    graphs.send(graph('make', ['b']))
    graphs.send(mapOf('sum', ['b'], args))
    graphs.send(mapOf('more', ['sum0'], args))
    graphs.flush()
    expect(shapes(sent)).toEqual([[['b'], ['sum0']], [['more0']]])
  })
})
