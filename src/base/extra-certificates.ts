// NODE_EXTRA_CA_CERTS has Node 20 parse the certificates of that file, and all of its own, whenever a process starts: twice what
// the start takes without it, for the list of a whole system. Processes in which no code of users runs need none of them
// (what our own connections trust is given to each), so they are started without the variable, and hand it on to those that
// do run code of users.

const VARIABLE = 'NODE_EXTRA_CA_CERTS'
const ASIDE = 'PLIMSOLL_NODE_EXTRA_CA_CERTS'

/** The environment for a process that calls `takeCertificatesBack` before it starts others. */
export function withCertificatesAside<T extends string | undefined>(
  environment: Readonly<Record<string, T>>,
): Record<string, T> {
  const { [VARIABLE]: file, ...rest } = environment
  return file === undefined ? rest : { ...rest, [ASIDE]: file }
}

/** From here on this process hands the variable on by its own name. It means nothing to the process itself any more. */
export function takeCertificatesBack(environment: NodeJS.ProcessEnv = process.env): void {
  const file = environment[ASIDE]
  if (file === undefined) return
  environment[VARIABLE] = file
  delete environment[ASIDE]
}
