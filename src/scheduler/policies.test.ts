import { describe, expect, it } from 'vitest'
import { loadPolicies } from './policies.ts'

const module = (source: string): string => `data:text/javascript,${encodeURIComponent(source)}`

describe('policies of the memory manager', () => {
  it('are built in, classes, objects or functions of a module, or given', async () => {
    const source = module(`
      export class Class { *run() {} }
      export const object = { *run() {} }
      export function* func() {}
    `)
    const names = ['ReduceReplicas', `${source}#Class`, `${source}#object`, `${source}#func`]
    const loaded = await loadPolicies(names, [{ name: 'own', run: () => [] }])
    expect(loaded.map(({ name }) => name)).toEqual([...names, 'own'])
  })

  it.each([
    ['ReduceReplica', /"ReduceReplica" is no policy: it is none of ReduceReplicas/],
    ['./nowhere.mjs#x', /its module cannot be loaded/],
    [`${module('export const x = 1')}#x`, /its export is no class or object/],
    [`${module('export const x = 1')}#y`, /its export is no class or object/],
  ])('that are none are refused: %s', async (name, message) => {
    await expect(loadPolicies([name], [])).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringMatching(message) as string,
    })
  })

  it('given as something else are refused', async () => {
    await expect(loadPolicies([], [{} as never])).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })
})
