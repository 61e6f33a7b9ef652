// Branded ids. Constructors live here and nowhere else; inside the program an id is trusted to be what its type says.

declare const brand: unique symbol
type Branded<T, Name extends string> = T & { readonly [brand]: Name }

/** Name of one task and of its value, unique in a cluster: `<function name>-<hash or uuid>`, or what the user chose. */
export type TaskKey = Branded<string, 'TaskKey'>
/** Stable identity of a worker; its nanny keeps it over restarts, so addresses may change while the id stays. */
export type WorkerId = Branded<string, 'WorkerId'>
export type ClientId = Branded<string, 'ClientId'>
/** Content hash of a captured function. */
export type FunctionId = Branded<string, 'FunctionId'>
/** One counter per scheduler, never reused: names one assignment of a task to a worker (or one scatter placement). */
export type RunId = Branded<number, 'RunId'>

export const taskKey = (value: string): TaskKey => value as TaskKey
export const workerId = (value: string): WorkerId => value as WorkerId
export const clientId = (value: string): ClientId => value as ClientId
export const functionId = (value: string): FunctionId => value as FunctionId
export const runId = (value: number): RunId => value as RunId
