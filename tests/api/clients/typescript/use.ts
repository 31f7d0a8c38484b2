// What a consumer does with the generated client. Prints what it got, as JSON; the test compares it with the stack.
import { createClient } from './client/client';
import { deleteSandbox, ensureSandbox, findIssue, getSandbox, listSandboxes, stopSandbox } from './client/sdk.gen';

declare const process: { env: Record<string, string> };

async function main(): Promise<void> {
  const { API, TOKEN, ISSUE_ID, OWNER, REPO, NUMBER } = process.env;
  const client = createClient({ baseUrl: API, auth: () => TOKEN });
  const path = { issue_id: Number(ISSUE_ID) };

  await ensureSandbox({
    client,
    path,
    query: { wait_s: 0 },
    headers: { 'Idempotency-Key': 'a-key' },
    body: { repository: `${OWNER}/${REPO}`, number: Number(NUMBER) },
  });
  const waited = await getSandbox({ client, path, query: { wait_for: 'usable', timeout_s: 30 } });
  const again = await ensureSandbox({ client, path, headers: { 'Idempotency-Key': 'a-key' } });
  const refused = await stopSandbox({ client, path, headers: { 'Idempotency-Key': 'a-key' } });
  const found = await findIssue({ client, path: { owner: OWNER, repo: REPO, number: Number(NUMBER) } });
  const listed = await listSandboxes({ client, query: { phase: 'usable', page_size: 200 } });
  const unknown = await getSandbox({ client, path: { issue_id: path.issue_id + 1 } });
  const deleted = await deleteSandbox({ client, path, query: { force: true } });

  console.log(
    JSON.stringify({
      statuses: [waited, again, refused, found, listed, unknown, deleted].map(({ response }) => response?.status),
      waited: waited.data?.waited,
      sandbox_id: waited.data?.sandbox?.id,
      toolbox_url: waited.data?.sandbox?.toolbox_url,
      outcome: again.data?.outcome,
      refused: refused.error?.type,
      found: found.data?.issue_id,
      listed: listed.data?.sandboxes.some((row) => row.issue_id === path.issue_id && row.phase === 'usable'),
      unknown: unknown.error?.detail,
    }),
  );
}

void main();
