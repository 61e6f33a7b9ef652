// One point of the grid, in a process of its own (started with --expose-gc): microseconds of `step` and bytes per task.

import type * as StateModule from '../../src/scheduler/core/state.ts'
import type * as StepModule from '../../src/scheduler/core/step.ts'
import { CoreWorkload, type CoreModules, type Shape } from './workload.ts'

const WARM_UP_TASKS = 20_000
const BUILT = new URL('../../dist/scheduler/core/', import.meta.url)

const [shape, workers, tasks] = JSON.parse(process.argv[2] ?? '') as [Shape, number, number]
const { createState, DEFAULT_CORE_OPTIONS } = (await import(new URL('state.js', BUILT).href)) as typeof StateModule
const { step } = (await import(new URL('step.js', BUILT).href)) as typeof StepModule
const core: CoreModules = { createState, step, options: DEFAULT_CORE_OPTIONS }

new CoreWorkload(core, workers).run(shape, WARM_UP_TASKS)
const workload = new CoreWorkload(core, workers)
const before = usedBytes()
const microseconds = workload.run(shape, tasks)
const created = workload.state.tasks.size
if (workload.inMemory !== created) throw new Error(`${workload.inMemory} of ${created} tasks finished`)
const bytes = usedBytes() - before
console.log(JSON.stringify({ microseconds: microseconds / created, bytes: bytes / created }))

function usedBytes(): number {
  if (globalThis.gc === undefined) throw new Error('this needs --expose-gc')
  globalThis.gc()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}
