// The two frequent messages of a pipe as rows without field names: writing and reading a `run` takes 1.0 us as a row and
// 3.8 us as a map, a `finished` 1.5 and 3.4. All other messages stay as they are.
//
// What successive runs have in common (function, name, cluster) is sent when it changes; so a row is understood only
// after all rows before it, and both ends belong to one pipe.

import type {
  ExecutorInput,
  ExecutorRun,
  ExecutorToWorker,
  InputSource,
  WorkerToExecutor,
} from '../protocol/worker-executor.ts'

type Finished = Extract<ExecutorToWorker, { op: 'finished' }>
export type PipeMessage = WorkerToExecutor | ExecutorToWorker

const RUN = 0
const FINISHED = 1

type Common = Pick<ExecutorRun, 'name' | 'fn' | 'clusterId' | 'generation'>
type CommonRow = readonly [name: string, fn: ExecutorRun['fn'], clusterId: string, generation: number]

type RunRow = readonly [
  kind: typeof RUN,
  runId: ExecutorRun['runId'],
  sequence: number,
  key: ExecutorRun['key'],
  args: Uint8Array,
  memory: number,
  attempt: number,
  /** 0: none. */
  inputs: readonly InputRow[] | 0,
  /** 0: as in the run before. */
  common: CommonRow | 0,
  fnBytes?: Uint8Array,
]

type InputRow =
  | readonly [key: ExecutorInput['key'], bytes: Uint8Array]
  | readonly [
      key: ExecutorInput['key'],
      path: string,
      offset: number,
      nbytes: number,
      tier: 'memory' | 'disk',
      mtimeNs: string | null,
      verify: boolean,
    ]

type FinishedRow = readonly [
  kind: typeof FINISHED,
  runId: Finished['runId'],
  durationMs: number,
  grownBytes: number,
  type: string,
  blob: Uint8Array,
  /** 0: none. */
  stillMapped: Finished['stillMapped'] | 0,
]

const NO_INPUTS: readonly ExecutorInput[] = Object.freeze([])
const NO_KEYS: Finished['stillMapped'] = Object.freeze([])

export class RowWriter {
  #last: Common | null = null

  rowOf(message: PipeMessage): object {
    if (message.op === 'run') return this.#runRow(message)
    return message.op === 'finished' ? finishedRow(message) : message
  }

  #runRow(run: ExecutorRun): object {
    const last = this.#last
    const same =
      last !== null &&
      last.fn === run.fn &&
      last.name === run.name &&
      last.clusterId === run.clusterId &&
      last.generation === run.generation
    const { runId, sequence, key, name, fn, args, memory, attempt, clusterId, generation, fnBytes } = run
    if (!same) this.#last = { name, fn, clusterId, generation }
    const inputs = run.inputs.length === 0 ? 0 : run.inputs.map(inputRow)
    const common: CommonRow | 0 = same ? 0 : [name, fn, clusterId, generation]
    const row: RunRow = [RUN, runId, sequence, key, args, memory, attempt, inputs, common]
    return fnBytes === undefined ? row : [...row, fnBytes]
  }
}

export class RowReader {
  #common: Common | null = null
  #type = ''

  messageOf(row: object): PipeMessage {
    if (!Array.isArray(row)) return row as PipeMessage
    return row[0] === RUN ? this.#run(row as unknown as RunRow) : this.#finished(row as unknown as FinishedRow)
  }

  #finished([, runId, durationMs, grownBytes, type, blob, stillMapped]: FinishedRow): Finished {
    // The worker keeps it with the value: values of one type in a row share one string.
    if (type !== this.#type) this.#type = type
    return {
      op: 'finished',
      type: this.#type,
      blob,
      runId,
      durationMs,
      stillMapped: stillMapped === 0 ? NO_KEYS : stillMapped,
      grownBytes,
    }
  }

  #run([, runId, sequence, key, args, memory, attempt, inputRows, commonRow, fnBytes]: RunRow): ExecutorRun {
    if (commonRow !== 0) {
      const [name, fn, clusterId, generation] = commonRow
      this.#common = { name, fn, clusterId, generation }
    }
    if (this.#common === null) throw new Error('a run without the part that the ones before it share')
    const { name, fn, clusterId, generation } = this.#common
    const inputs = inputRows === 0 ? NO_INPUTS : inputRows.map(inputOf)
    const run = {
      op: 'run',
      runId,
      sequence,
      key,
      name,
      fn,
      args,
      inputs,
      memory,
      attempt,
      clusterId,
      generation,
    } as const
    return fnBytes === undefined ? run : { ...run, fnBytes }
  }
}

function inputRow({ key, source }: ExecutorInput): InputRow {
  if (source.via === 'inline') return [key, source.bytes]
  return [key, source.path, source.offset, source.nbytes, source.tier, source.mtimeNs, source.verify]
}

function inputOf(row: InputRow): ExecutorInput {
  if (row.length === 2) return { key: row[0], source: { via: 'inline', bytes: row[1] } }
  const [key, path, offset, nbytes, tier, mtimeNs, verify] = row
  const source: InputSource = { via: 'file', path, offset, nbytes, tier, mtimeNs, verify }
  return { key, source }
}

function finishedRow({ runId, durationMs, grownBytes, type, blob, stillMapped }: Finished): FinishedRow {
  return [FINISHED, runId, durationMs, grownBytes, type, blob, stillMapped.length === 0 ? 0 : stillMapped]
}
