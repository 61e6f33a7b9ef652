// plimsoll/testing: the production cores in a simulated cluster under virtual time. docs/simulation.md says what is real.

export { simulate, type SimulationOptions, type SimulationReport } from './simulate.ts'
export type { SimFailure } from './world.ts'
