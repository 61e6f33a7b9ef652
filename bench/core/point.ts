// One point of the grid, in a process of its own (started with --expose-gc): microseconds of `step` and bytes per task.

import type * as StateModule from '../../src/scheduler/core/state.ts'
import type * as StepModule from '../../src/scheduler/core/step.ts'
import { CoreWorkload, type CoreModules, type Shape } from './workload.ts'

const WARM_UP_TASKS = 20_000
const WARM_UP_ROUNDS = 10
const BUILT = new URL('../../dist/scheduler/core/', import.meta.url)

const [shape, workers, tasks] = JSON.parse(process.argv[2] ?? '') as [Shape, number, number]
const { createState, DEFAULT_CORE_OPTIONS } = (await import(new URL('state.js', BUILT).href)) as typeof StateModule
const { step } = (await import(new URL('step.js', BUILT).href)) as typeof StepModule
const core: CoreModules = { createState, step, options: DEFAULT_CORE_OPTIONS }

// What a scheduler does first costs several times as much, until its code is compiled. No collection is forced before the
// measured run: it makes the engine throw compiled code away. So memory is measured afterwards, in a run of its own.
for (let round = 0; round < WARM_UP_ROUNDS; round++) new CoreWorkload(core, workers).run(shape, WARM_UP_TASKS)
console.log(JSON.stringify({ microseconds: microsecondsPerTask(), bytes: bytesPerTask() }))

function microsecondsPerTask(): number {
  const workload = new CoreWorkload(core, workers)
  return workload.run(shape, tasks) / createdBy(workload)
}

function bytesPerTask(): number {
  const workload = new CoreWorkload(core, workers)
  const before = usedBytes()
  workload.run(shape, tasks)
  return (usedBytes() - before) / createdBy(workload)
}

function createdBy({ state, inMemory }: CoreWorkload): number {
  if (inMemory !== state.tasks.size) throw new Error(`${inMemory} of ${state.tasks.size} tasks finished`)
  return inMemory
}

function usedBytes(): number {
  if (globalThis.gc === undefined) throw new Error('this needs --expose-gc')
  globalThis.gc()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}
