// A person with a browser: opens an address, logs in at the EHR, chooses a patient, and stops where the app would be.

export async function visit(address, redirectUri, { login, password, patient }) {
  const cookies = new Map();
  const step = async (url, form) => {
    const headers = { cookie: [...(cookies.get(url.host) ?? [])].map(([name, value]) => `${name}=${value}`).join("; ") };
    const answer = await fetch(url, { redirect: "manual", headers, ...(form && { method: "POST", body: new URLSearchParams(form) }) });
    const jar = cookies.get(url.host) ?? new Map();
    for (const line of answer.headers.getSetCookie()) {
      const [name, value] = line.split(";")[0].split(/=(.*)/s);
      jar.set(name, value);
    }
    cookies.set(url.host, jar);
    return answer;
  };
  let url = new URL(address);
  let form;
  for (let count = 0; count < 20; count += 1) {
    const answer = await step(url, form);
    form = undefined;
    if (answer.headers.has("location")) {
      url = new URL(answer.headers.get("location"), url);
      if (url.href.startsWith(redirectUri)) return url;
      continue;
    }
    const text = await answer.text();
    const action = /<form method="post" action="([^"]+)"/.exec(text)?.[1];
    if (!action) throw new Error(`${url} answered ${answer.status}: ${text}`);
    const interaction = /name="interaction" value="([^"]+)"/.exec(text)[1];
    form = text.includes('name="password"')
      ? { interaction, login, password, decision: "allow" }
      : { interaction, patient, decision: "allow" };
    url = new URL(action, url);
  }
  throw new Error("more than twenty steps");
}
