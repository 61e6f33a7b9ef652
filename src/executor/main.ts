// Entry of an executor process: pipes, lifeline, process-wide handlers. Descriptor 3 brings messages of the worker, 4 takes
// ours. Both stay open as long as the worker lives; the end of 3 is the end of this process.
//
// Descriptor 4 is written synchronously and by nobody else, so messages are in order, whole, and in the pipe before the
// next line of code runs, or in the outbox (sender.ts): neither a crash nor a task in an endless loop can hold back what was
// said before.

import { writeFileSync, writeSync } from 'node:fs'
import { msgpackr } from '../base/msgpack.ts'
import { exposedGc } from '../native/exposed-gc.ts'
import { loadLibc } from '../native/libc.ts'
import { StatusPage } from '../native/status-page.ts'
import type { ExecutorStart, WorkerToExecutor } from '../protocol/worker-executor.ts'
import { outputMarker } from '../runner/output-marker.ts'
import { MessageParser } from '../runner/pipe-framing.ts'
import { FunctionCache } from '../runner/function-cache.ts'
import { dieWithParent, endGroup } from './lifeline.ts'
import { readPipe } from './pipe-reader.ts'
import { Sender } from './sender.ts'
import { TaskLoop } from './task-loop.ts'

const FROM_WORKER = 3
const TO_WORKER = 4

msgpackr()
const collectGarbage = exposedGc()
const functions = new FunctionCache()
const sender = new Sender(writeToWorker)
let loop: TaskLoop | null = null

function writeToWorker(bytes: Uint8Array): void {
  let done = 0
  while (done < bytes.byteLength) {
    try {
      done += writeSync(TO_WORKER, bytes, done)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') endGroup()
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1)
    }
  }
}

function onMessage(message: WorkerToExecutor): void {
  if (message.op === 'start') {
    loop = start(message)
    return
  }
  if (loop === null) throw new Error(`"${message.op}" came before "start"`)
  switch (message.op) {
    case 'run':
      return loop.add(message)
    case 'withdraw':
      return loop.withdraw(message.runIds, message.epoch)
    case 'cancel':
      return loop.cancel(message.runId)
    case 'place':
      return loop.place(message.runId, message.place)
    case 'collect':
      return loop.collect()
    case 'forget-functions':
      return functions.forget(message.ids)
    case 'ping':
      return sender.send({ op: 'pong' })
  }
}

function start(message: ExecutorStart): TaskLoop {
  const libc = loadLibc()
  dieWithParent(libc, message.parentPid)
  const page = StatusPage.open(message.statusPage)
  page.setPid(message.slot, process.pid)
  sender.useOutbox(page.outbox(message.slot))
  const started = new TaskLoop({ start: message, page, functions, libc, collectGarbage, sender })
  process.on('uncaughtException', (error) => started.crash(error, 'uncaught exception'))
  process.on('unhandledRejection', (reason) => started.crash(reason, 'unhandled rejection'))
  tagOutput(process.stdout, started)
  tagOutput(process.stderr, started)
  sender.send({ op: 'ready', pid: process.pid })
  return started
}

/** A marker goes in front of what another run prints than the one before. */
function tagOutput(stream: NodeJS.WriteStream, tasks: TaskLoop): void {
  // Otherwise what does not fit into the pipe at once is kept in memory, without bound, and is lost in a crash.
  ;(stream as { _handle?: { setBlocking?(on: boolean): void } })._handle?.setBlocking?.(true)
  const write = stream.write.bind(stream) as (...args: unknown[]) => boolean
  let last: number | null = null
  stream.write = ((...args: unknown[]): boolean => {
    const run = tasks.currentRun()
    if (run !== last) write(outputMarker(run))
    last = run
    return write(...args)
  }) as typeof stream.write
}

/** The first to go when the machine runs out of memory: a task is cheaper to run again than a worker. */
function offerToOomKiller(): void {
  try {
    writeFileSync('/proc/self/oom_score_adj', '800')
  } catch {
    // Not Linux, or not allowed.
  }
}

offerToOomKiller()
// Ctrl-C reaches the whole terminal group: the worker decides what it means.
process.on('SIGINT', () => {})
const parser = new MessageParser<WorkerToExecutor>()
readPipe(FROM_WORKER, (chunk) => parser.push(chunk, onMessage), endGroup)
