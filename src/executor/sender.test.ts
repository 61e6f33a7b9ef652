import { describe, expect, it } from 'vitest'
import type { RunId } from '../base/ids.ts'
import { Outbox, OUTBOX_BYTES } from '../native/outbox.ts'
import type { ExecutorToWorker } from '../protocol/worker-executor.ts'
import { MessageParser } from '../runner/pipe-framing.ts'
import { Sender } from './sender.ts'

function start(mapped = true) {
  const writes: ExecutorToWorker[][] = []
  const parser = new MessageParser<ExecutorToWorker>()
  const sender = new Sender((bytes) => {
    const messages: ExecutorToWorker[] = []
    parser.push(Buffer.from(bytes), (message) => messages.push(message))
    writes.push(messages)
  })
  const outbox = mapped ? new Outbox(new ArrayBuffer(OUTBOX_BYTES), 0) : null
  sender.useOutbox(outbox)
  const ids = () => writes.map((messages) => messages.map((each) => ('runId' in each ? each.runId : each.op)))
  return { sender, outbox, ids }
}

function finished(run: number, bytes = 10): Extract<ExecutorToWorker, { op: 'finished' }> {
  const blob = new Uint8Array(bytes)
  return { op: 'finished', runId: run as RunId, type: 'number', blob, durationMs: 0, stillMapped: [], grownBytes: 0 }
}

describe('sender', () => {
  it('writes what was held back as one, with the first that is late', () => {
    const { sender, outbox, ids } = start()
    sender.hold(finished(1), 100, 0.25)
    sender.hold(finished(2), 100.2, 0.25)
    expect(ids()).toEqual([])
    expect(outbox?.peek()?.byteLength).toBeGreaterThan(0)
    sender.hold(finished(3), 100.3, 0.25)
    expect(ids()).toEqual([[1, 2, 3]])
    expect(outbox?.peek()).toBeNull()
    sender.hold(finished(4), 100.4, 0.25)
    sender.flush()
    sender.flush()
    expect(ids()).toEqual([[1, 2, 3], [4]])
  })

  it('writes what was held back before what is sent', () => {
    const { sender, ids } = start()
    sender.hold(finished(1), 0, 1)
    sender.send({ op: 'pong' })
    expect(ids()).toEqual([[1], ['pong']])
  })

  it('writes at once what does not fit, in order', () => {
    const { sender, ids } = start()
    sender.hold(finished(1), 0, 1)
    sender.hold(finished(2, OUTBOX_BYTES), 0, 1)
    sender.hold(finished(3), 0, 1)
    sender.flush()
    expect(ids()).toEqual([[1], [2], [3]])
  })

  it('holds nothing back that the worker could not read', () => {
    const { sender, ids } = start(false)
    sender.hold(finished(1), 0, 1)
    expect(ids()).toEqual([[1]])
  })
})
