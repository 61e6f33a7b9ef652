import { describe, expect, it, vi } from 'vitest'
import { killMarked } from './process-family.ts'

vi.mock('node:fs', async (original) => {
  const fs = (await original()) as object
  const readdirSync = (): never => {
    throw Object.assign(new Error("EMFILE: too many open files, scandir '/proc'"), { code: 'EMFILE' })
  }
  return { ...fs, readdirSync }
})

describe('the search for marks', () => {
  it('finds nobody where the list of processes cannot be read: who waits for its end goes on', async () => {
    expect(await killMarked([`mark-of-${process.pid};`])).toEqual([])
  })
})
