// What failed once, each with the plan that showed it (regressions/NAME.json, with hyphens) and the fault that brings it back.
// `npm test` replays every plan, `npm run sabotage` shows that each fails with its fault.

export interface Regression {
  readonly name: string
  /** What went wrong, and the tests of the part that keep it. */
  readonly what: string
  /** One edit that undoes what mended it: `find` is in the file exactly once. */
  readonly fault: { readonly file: string; readonly find: string; readonly replace: string }
  /** How the plan fails with the fault, as `kindOfFailure` says it. */
  readonly fails: string
}

/** Where the plan of a regression is, from the root of the project. */
export function planPath({ name }: Regression): string {
  return `test/simulation/regressions/${name.replaceAll(' ', '-')}.json`
}

export const REGRESSIONS: readonly Regression[] = [
  {
    name: 'restart of a worker that is being closed',
    what: 'client.restart() waited for a worker whose nanny had given it up (scheduler/core/data.test.ts, restart)',
    fault: {
      file: 'src/scheduler/core/handlers/worker-loss.ts',
      find: '  finishRestarts(state, worker.id)\n',
      replace: '  state.restarting.delete(worker.id)\n',
    },
    fails: 'a restart waits for #, which is gone',
  },
  {
    name: 'restart of a worker whose machine dies',
    what: 'a worker that never came back from a restart was remembered for ever (scheduler/core/data.test.ts, restart)',
    fault: {
      file: 'src/scheduler/core/handlers/worker-loss.ts',
      find: '  finishRestarts(state, worker.id)\n',
      replace: '',
    },
    fails: 'a restart waits for #, which is gone',
  },
  {
    name: 'client that dies in the middle of a scatter',
    what: 'what had arrived at a worker stayed there for ever (scheduler/core/data.test.ts, scattered data)',
    fault: {
      file: 'src/scheduler/core/transitions/released.ts',
      find: '  dropPlaced(state, task)\n',
      replace: '  state.placements.delete(task)\n',
    },
    fails: '# holds #, of which the scheduler does not know',
  },
  {
    name: 'client that dies before its scatter arrives',
    what: 'what arrived at a worker afterwards stayed there for ever (scheduler/core/data.test.ts, scattered data)',
    fault: {
      file: 'src/worker/core/handlers/replicas.ts',
      find: '  turn.sendScattered(task.key, runId)\n',
      replace: '',
    },
    fails: '# holds #, of which the scheduler does not know',
  },
  {
    name: 'retirement while the only copy is damaged',
    what: 'peers asked for it for ever (worker/worker.test.ts, a damaged copy of a peer), one when it was gone (scheduler/core/retire.test.ts, calls a copy back)',
    fault: { file: 'src/worker/peer-client.ts', find: '      await this.#complain(connection, signal)\n', replace: '' },
    fails: 'stuck: not everything that is waited for came',
  },
  {
    name: 'client whose first try to come back is met by silence',
    what: 'one try took the whole grace, and the client gave up a scheduler that could be reached again (client/core/attachment.test.ts)',
    fault: { file: 'src/client/core/attachment.ts', find: '(leftMs - afterMs) / 2)', replace: 'leftMs - afterMs)' },
    fails: '# gave up a scheduler that it could reach',
  },
  {
    name: 'copy whose confirmation crosses the order to drop it',
    what: 'it was counted for ever, and what needed it was handed back for ever (scheduler/core/data.test.ts, replicas)',
    fault: {
      file: 'src/scheduler/core/transitions/memory.ts',
      find: '  if (isGivenUp) task.acceptedRunId = 0\n',
      replace: '',
    },
    fails: 'the value of # was there and is lost',
  },
  {
    name: 'refused key that its client builds on in a later graph',
    what: 'it read a value made from the call of another client (scheduler/core/graph-refusals.test.ts)',
    fault: {
      file: 'src/scheduler/core/handlers/graph.ts',
      find: '      client.refused.set(key, refusal)\n',
      replace: '',
    },
    fails: '# read a wrong value: # has digest # instead of #',
  },
  {
    name: 'cancelled key that is submitted again while it finishes',
    what: 'its client read the value of the earlier life (client/futures-registry.test.ts)',
    fault: {
      file: 'src/client/futures-registry.ts',
      find: 'state !== undefined && !this.#awaitsCancel(state)) this.settle',
      replace: 'state !== undefined) this.settle',
    },
    fails: '# read # of run # while run # was the accepted one',
  },
  {
    name: 'cancelled key that is scattered again',
    what: 'its client did not hear of it any more (client/futures-registry.test.ts, test/client/values.test.ts)',
    fault: {
      file: 'src/client/client-session.ts',
      find: 'this.registry.cancelling || uploads.some',
      replace: 'uploads.some',
    },
    fails: 'stuck: not everything that is waited for came',
  },
  {
    name: 'scattered value that counts because one worker came back with it',
    what: 'the copies of the others that it was sent to stayed for ever (scheduler/core/data.test.ts, scattered data)',
    fault: {
      file: 'src/scheduler/core/handlers/worker-registration.ts',
      find: '  askPlaced(state, task, placed)\n',
      replace: '',
    },
    fails: '# holds #, of which the scheduler does not know',
  },
  {
    name: 'scattered value that only a part of its workers reported',
    what: 'the copies of the others that it was sent to stayed for ever (scheduler/core/data.test.ts, scattered data)',
    fault: {
      file: 'src/scheduler/core/handlers/scatter.ts',
      find: '    askPlaced(state, task, placed)\n',
      replace: '',
    },
    fails: '# holds #, of which the scheduler does not know',
  },
  {
    name: 'scattered key that is lost while another scatter of it waits for a worker',
    what: 'the other client was told that it is there, and waited for a task that was forgotten (scheduler/core/data.test.ts, scattered data)',
    fault: { file: 'src/scheduler/core/handlers/worker-registration.ts', find: '  settleAll(state)\n', replace: '' },
    fails:
      'InvariantError: after cancel-keys: client # wants #, which does not know it; client # wants #, which does not know it. Story of #: released -> memory, run # at tcp://#:# (update-data); memory -> released (WorkerRegistered); released -> forgotten (WorkerRegistered); released -> memory, run # at tcp://#:# (update-data); memory -> released (WorkerRegistered); released -> forgotten (WorkerRegistered)',
  },
  {
    name: 'scatter that fails while tasks build on it',
    what: 'they waited for ever (testing/lost-values.test.ts)',
    fault: {
      file: 'src/client/client-session.ts',
      find: "    if (failed.length > 0 && !this.closed) this.sendNow({ op: 'client-releases-keys', keys: failed })\n",
      replace: '',
    },
    fails: 'stuck: not everything that is waited for came',
  },
  {
    name: 'memory that runs claim in fractions of a byte',
    what: 'sums of claims were not exact (worker/core/admission.test.ts)',
    fault: {
      file: 'src/worker/core/admission.ts',
      find: 'Math.floor(settings.pauseBytes - this.#idleBytes)',
      replace: 'settings.pauseBytes - this.#idleBytes',
    },
    fails: 'the core of # failed: InvariantError: runs claim #, not #',
  },
  {
    name: 'run given to a worker whose registration is never answered',
    what: 'it counted as an attempt: what must not run twice failed and had never run (scheduler/core/lost-messages.test.ts)',
    fault: {
      file: 'src/scheduler/core/handlers/worker-registration.ts',
      find: '...(clusterId === null && { received: 0 as RunId })',
      replace: "...(clusterId === '' && { received: 0 as RunId })",
    },
    fails: '# failed and never ran',
  },
  {
    name: 'value that nobody wants any more while its file is being made',
    what: 'its place and its file stayed (worker/blob-intake.test.ts)',
    fault: {
      file: 'src/worker/blob-intake.ts',
      find: '      if (this.#cancelled) await this.cancel()\n      this.#throwIfCancelled()\n',
      replace: '',
    },
    fails: 'files are left on #',
  },
  {
    name: 'room that copies take again as soon as they are dropped',
    what: 'a worker waited for it for ever and started nothing (store/spilling.test.ts, ends makeRoom)',
    fault: {
      file: 'src/store/spiller.ts',
      find: '(this.#resting ? now < patientUntilMs : !this.#stuck)',
      replace: 'this.#resting || !this.#stuck',
    },
    fails: 'stuck: not everything that is waited for came',
  },
  {
    name: 'damaged file that workers of one machine share',
    what: 'it was linked again and tried for ever (testing/lost-values.test.ts)',
    fault: {
      file: 'src/worker/core/handlers/runs.ts',
      find: '    input.suspect = event.valueRunId !== null\n',
      replace: '',
    },
    fails: 'stuck: not everything that is waited for came',
  },
]
