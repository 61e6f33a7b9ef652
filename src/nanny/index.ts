// `plimsoll/nanny`: keeps a worker process running.

export { Nanny, type NannyHooks, type NannyOptions } from './nanny.ts'
