/** Where a value comes from. */
export type ConfigSource =
  | { readonly kind: 'default' }
  | { readonly kind: 'file'; readonly path: string; readonly line: number; readonly column: number }
  | { readonly kind: 'environment'; readonly name: string }
  /** Given by code or a command-line option. */
  | { readonly kind: 'program' }

/** `default`, `/etc/plimsoll/a.yaml:3:5`, `environment variable PLIMSOLL_…`, `program`. */
export function describeSource(source: ConfigSource): string {
  switch (source.kind) {
    case 'file':
      return `${source.path}:${source.line}:${source.column}`
    case 'environment':
      return `environment variable ${source.name}`
    default:
      return source.kind
  }
}
