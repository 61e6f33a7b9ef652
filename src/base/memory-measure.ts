/**
 * What of a worker's memory is compared when data is to be spread: all of its process memory, that without what came within
 * the last half minute, the values in RAM (two names), or all values wherever they lie.
 */
export const MEMORY_MEASURES = ['process', 'optimistic', 'managed', 'managedInMemory', 'managedTotal'] as const
export type MemoryMeasure = (typeof MEMORY_MEASURES)[number]
