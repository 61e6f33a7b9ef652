import { simulateSeeds } from './seeds.ts'

simulateSeeds(751, 250)
