// What failed once holds. Each plan is replayed as it was recorded; scripts/sabotage.mjs shows that it still fails when its
// bug is brought back.

import { readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { parsePlan } from '../../src/testing/plan-file.ts'
import { variationOf } from '../../src/testing/plan.ts'
import { simulate } from '../../src/testing/simulate.ts'
import { planPath, REGRESSIONS } from './regressions.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
/** Of each plan, beside itself. */
const VARIATIONS = 4

it.each([...REGRESSIONS])('$name: $what', async (regression) => {
  const path = planPath(regression)
  const plan = parsePlan(readFileSync(join(ROOT, path), 'utf8'), path)
  for (let n = 0; n <= VARIATIONS; n++) {
    const { failure } = await simulate({ plan: variationOf(plan, n) })
    const text = failure === null ? '' : [failure.what, ...failure.details].join('\n')
    expect(text, `replay with: npm run sim -- --replay ${path} --variations ${n} --trace`).toBe('')
  }
})

it('every recorded plan is listed, with a name of its own', () => {
  const listed = REGRESSIONS.map((regression) => basename(planPath(regression)))
  expect(listed.toSorted()).toEqual(readdirSync(join(ROOT, 'test/simulation/regressions')).toSorted())
})
