import { describe, expect, it } from 'vitest'
import { functionId, taskKey } from '../base/ids.ts'
import type { ClientToScheduler } from '../protocol/scheduler-client.ts'
import type { TaskOptionsWire } from '../protocol/tasks.ts'
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
    graphs.send(graph('f', ['c', 'd']))
    graphs.send(graph('f', ['e']))
    graphs.flush()
    graphs.send(graph('f', ['g']))
    expect(shapes(sent)).toEqual([[['a']], 'client-releases-keys', [['b']], [['c', 'd']], [['e']]])
    expect(first.groups[0]?.tasks).toHaveLength(1)
    await Promise.resolve()
    expect(shapes(sent.slice(5))).toEqual([[['g']]])
  })

  it('does not wait for the end of a long loop', () => {
    const { graphs, sent } = batch()
    for (let n = 0; n < 1200; n++) graphs.send(graph('f', [`t${n}`]))
    expect(sent.length).toBeGreaterThan(1)
    graphs.flush()
    expect(shapes(sent).flat(2)).toEqual(Array.from({ length: 1200 }, (_, n) => `t${n}`))
  })
})
