// Checked by the compiler alone: futures, gather, scatter and the functions that wait.

import {
  asCompleted,
  type Client,
  type Future,
  fireAndForget,
  getClient,
  progress,
  type Rebalanced,
  type Replicated,
  type RestartOutcome,
  wait,
} from '../../src/index.ts'
import { typeOf } from './expect.ts'

declare const client: Client
declare const number: Future<number>
declare const text: Future<string>
declare const numbers: Future<number>[]

// A future is known by its value, and is not awaited by accident.
typeOf(number.result())<Promise<number>>()
typeOf(number.exception())<Promise<Error | undefined>>()
typeOf(number.status)<'pending' | 'finished' | 'error' | 'cancelled' | 'lost'>()
typeOf(await Promise.resolve(number))<Future<number>>()
number.addDoneCallback((done) => typeOf(done)<Future<number>>())
export const wider: Future<number | string> = number
// @ts-expect-error a future of a number is none of a text
export const wrong: Future<string> = number

{
  using scoped = number
  typeOf(scoped)<Future<number>>()
}

// gather keeps the shape.
typeOf(await client.gather(number))<number>()
typeOf(await client.gather(numbers))<number[]>()
typeOf(await client.gather([number, text]))<[number, string]>()
typeOf(await client.gather({ a: number, b: [text, 1], c: { d: numbers } }))<{
  a: number
  b: [string, 1]
  c: { d: number[] }
}>()
typeOf(await client.gather(new Map([['a', number]])))<Map<string, number>>()
typeOf(await client.gather(new Set([text])))<Set<string>>()
declare const pair: readonly [Future<number>, { readonly when: Date }]
typeOf(await client.gather(pair))<[number, { when: Date }]>()

// Errors stand in for values, or leave their place.
typeOf(await client.gather(numbers, { errors: 'return' }))<(number | Error)[]>()
typeOf(await client.gather([number, text], { errors: 'return' }))<[number | Error, string | Error]>()
typeOf(await client.gather(numbers, { errors: 'skip' }))<number[]>()
typeOf(await client.gather([number, text], { errors: 'skip' }))<(number | string)[]>()

// Scattered values are futures of what they were.
typeOf(client.scatter(new Float64Array(3)))<Future<Float64Array<ArrayBuffer>>>()
typeOf(client.scatterAll([1, 2]))<Future<number>[]>()
typeOf(client.scatterAll(new Set(['a']), { broadcast: 2 }))<Future<string>[]>()

// Waiting.
const { done, notDone } = await wait(numbers, { returnWhen: 'FIRST_COMPLETED' })
typeOf([done, notDone])<Future<number>[][]>()
for await (const future of asCompleted(numbers)) typeOf(future)<Future<number>>()
for await (const [future, value] of asCompleted(numbers, { withResults: true })) {
  typeOf(future)<Future<number>>()
  typeOf(value)<number>()
}
typeOf(progress(numbers))<Promise<void>>()
fireAndForget([number, text])
typeOf(getClient().submit(() => 1))<Future<number>>()

// Questions.
typeOf(await client.whoHas(numbers))<Record<string, string[]>>()
typeOf((await client.memory()).cluster.spilled)<number>()
typeOf((await client.taskCounts())['f']?.runs)<number | undefined>()
// @ts-expect-error a number is no future
await client.retry(3)

// Where data lives.
typeOf(client.replicate(numbers, { n: 2, workers: 'a' }))<Promise<Replicated>>()
typeOf(client.rebalance())<Promise<Rebalanced>>()
void client.rebalance([number, text], { measure: 'managedInMemory' })
// @ts-expect-error no such measure
void client.rebalance(numbers, { measure: 'managed_in_memory' })
typeOf(client.retireWorkers({ n: 1 }))<Promise<string[]>>()
typeOf(client.restartWorkers(['a']))<Promise<Record<string, RestartOutcome>>>()
typeOf(client.amm.running())<Promise<boolean>>()
