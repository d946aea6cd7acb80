/** The page and its parameters, as the URL's fragment says them: #/studio?job=ID&job=ID. */

export const kPages = ['studio', 'forward'] as const;
export type Page = (typeof kPages)[number];

export interface Route {
  page: Page;
  /** One job, or two that are compared. */
  jobs: string[];
}

const kJobId = /^[A-Za-z0-9_-]{1,64}$/;

export function parseRoute(hash: string): Route {
  const [path = '', query = ''] = hash.replace(/^#\/?/, '').split('?', 2);
  const page = kPages.find((name) => name === path) ?? 'studio';
  const jobs = new URLSearchParams(query).getAll('job').filter((id) => kJobId.test(id));
  return { page, jobs: jobs.slice(0, 2) };
}

export function formatRoute(route: Route): string {
  const query = new URLSearchParams(route.jobs.map((id) => ['job', id]));
  return `#/${route.page}${route.jobs.length ? `?${query}` : ''}`;
}
