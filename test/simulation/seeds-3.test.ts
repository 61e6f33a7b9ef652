import { simulateSeeds } from './seeds.ts'

simulateSeeds(501, 250)
