// Against a real broker: what every broker has, whoever is connected.
import { tool } from './flows.mjs';
import { PAGES, check, shoot, visit } from './pages.mjs';

export const REAL = {
  async every_page_is_there({ page, origin, label }) {
    for (const [name, heading] of PAGES) {
      await visit(page, origin, name);
      await page.getByRole('heading', { level: 1, name: heading, exact: true }).waitFor();
      await check(page, `${label} ${name}`);
      await shoot(page, `${label}-page-${name}`);
    }
  },

  async the_client_tool_speaks_mqtt({ page, origin, label }) {
    await tool(page, origin, label);
  },
};
