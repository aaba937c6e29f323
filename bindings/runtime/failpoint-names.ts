// runtime/failpoint-names.ts: the catalogue of failpoints: every place where a test can make something go wrong (recovery.md section 15, one table).
//
// A site, a test and a matrix name a point as `FP.publish.beforeAppend`; it is printed `publish.beforeAppend`. test/guards/failpoints.test.ts walks the sources:
// each name that is not planned has a site and a test, each planned one has none yet.

const GROUPS = {
  intent: ['write', 'writeAfter', 'read', 'list', 'listAfter', 'delete', 'lease'],
  stage: ['beforeFile', 'afterFile', 'beforeSync', 'afterSync', 'betweenChunks'],
  seal: ['beforeAppend', 'afterAppend'],
  promote: ['before', 'betweenFiles', 'after'],
  publish: ['afterAdmit', 'beforeAppend', 'afterAppend', 'beforeResolve', 'lostSlot'],
  retire: ['before', 'betweenFiles', 'after'],
  sweep: ['afterList', 'beforeGates', 'beforeRollForward', 'beforeRollBack', 'afterRollBack', 'beforeDiscard'],
  heal: ['enter', 'afterGates', 'beforeReload'],
  log: [
    'beforeWrite',
    'shortWrite',
    'beforeSync',
    'afterSync',
    'beforeLockCheck',
    'beforeFooter',
    'afterFooter',
    'roll',
    'recycle',
    'preallocate',
    'beforeClean',
    'afterClean',
    'beforeFloorRead',
    'trim',
    'afterFloor',
    'betweenTombstones',
    'node',
  ],
  checkpoint: ['beforeWrite', 'beforeRename', 'afterRename', 'beforeTrim'],
  flush: ['beforeFragment', 'beforePublish', 'afterPublish'],
  schema: ['afterPreview', 'beforeDefinitions', 'afterDefinitions', 'betweenTables', 'beforeCatalogReload'],
  optimize: ['afterPlan', 'beforeCompact', 'afterCompact', 'beforeReindex', 'afterReindex', 'beforePublish'],
  merge: ['afterCapture', 'afterClassify', 'betweenChunks', 'beforePublish'],
  branch: ['beforeCreate', 'afterCreate', 'beforeDelete', 'afterDelete'],
  vacuum: ['afterMark', 'beforeDelete', 'betweenDeletes'],
  open: ['beforeLock', 'afterLock', 'beforeEpoch', 'afterVersionFile', 'beforeMigrate', 'betweenMigrations', 'probe'],
  ship: [
    'beforeEpochPersist',
    'afterEpochPersist',
    'beforeApply',
    'afterApply',
    'beforeAck',
    'truncateIntent',
    'afterTruncateIntent',
    'afterCut',
    'afterDropCheckpoints',
    'afterRefold',
    'installIntent',
    'afterManifest',
    'beforeSwitch',
    'afterSwitch',
    'beforeFragmentLink',
    'pin',
    'release',
    'stepHook',
    'modeRecord',
    'promote',
  ],
  root: ['get', 'head', 'put', 'putIfAbsent', 'list', 'delete', 'rename', 'link', 'syncDir'],
} as const

type Groups = typeof GROUPS

export type FailpointGroup = keyof Groups

/** `publish.beforeAppend` and so on: the members of FP. */
export type FailpointName = { readonly [G in FailpointGroup]: `${G}.${Groups[G][number]}` }[FailpointGroup]

export type FailpointCatalogue = { readonly [G in FailpointGroup]: { readonly [N in Groups[G][number]]: `${G}.${N}` } }

/** Every failpoint by group and name. @example FP.publish.beforeAppend === 'publish.beforeAppend' */
export const FP: FailpointCatalogue = /* #__PURE__ */ catalogue()

/** All names, in the order of the table. */
export const FAILPOINTS: readonly FailpointName[] = /* #__PURE__ */ Object.freeze(Object.values(FP).flatMap((names) => Object.values<FailpointName>(names)))

/** Of parts that a later issue builds: named already, placed nowhere yet. */
export const PLANNED: ReadonlySet<FailpointName> = /* #__PURE__ */ new Set<FailpointName>()

function catalogue(): FailpointCatalogue {
  const groups = Object.entries(GROUPS).map(([group, names]) => [group, Object.freeze(Object.fromEntries(names.map((name) => [name, `${group}.${name}`])))])
  return Object.freeze(Object.fromEntries(groups)) as FailpointCatalogue
}
