// plimsoll/testing: the production cores in a simulated cluster under virtual time. docs/simulation.md says what is real.

export { planSimulation, type SeedOptions, type SimulationPlan } from './plan.ts'
export { formatPlan, parsePlan } from './plan-file.ts'
export { kindOfFailure, shrinkPlan, type ShrinkOptions } from './shrink.ts'
export { simulate, type SimulationOptions, type SimulationReport, type TraceOptions } from './simulate.ts'
export type { SimFailure } from './world.ts'
