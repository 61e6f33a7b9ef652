import { simulateSeeds } from './seeds.ts'

simulateSeeds(251, 250)
