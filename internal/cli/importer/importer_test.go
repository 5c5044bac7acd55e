package importer_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"valence/atom/steps"
	"valence/connectors/all"
	"valence/internal/cli/importer"
	"valence/internal/fault"
	"valence/processes"
	"valence/processes/loader"
)

var update = flag.Bool("update", false, "write the golden files")

var catalog = sync.OnceValue(func() *processes.Catalog {
	return &processes.Catalog{Steps: steps.Kinds(), Connectors: all.Registry("test")}
})

func lint(files []importer.File) (out []importer.Problem) {
	list := make([]processes.File, len(files))
	for i, f := range files {
		list[i] = processes.File{Name: f.Name, Content: []byte(f.Text)}
	}
	_, problems := loader.Load(list, catalog())
	for _, p := range problems {
		if p.Severity == fault.Error {
			out = append(out, importer.Problem{File: p.File, Line: p.Line, Code: string(p.Code), Msg: p.Msg})
		}
	}
	return out
}

// fixtures calls f with each source in testdata.
func fixtures(t *testing.T, f func(t *testing.T, kind, name string, text []byte)) {
	t.Helper()
	for _, kind := range []string{importer.Benthos, importer.Camel, importer.N8N} {
		sources, err := filepath.Glob(filepath.Join("testdata", kind, "*.[yj]*"))
		if err != nil || len(sources) == 0 {
			t.Fatalf("%s: got %d sources (%v), want some", kind, len(sources), err)
		}
		for _, name := range sources {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			t.Run(kind+"/"+filepath.Base(name), func(t *testing.T) { f(t, kind, name, text) })
		}
	}
}

// TestImportWritesProjectsThatLint imports each source in testdata, and compares
// the report and the files with the golden file next to it.
func TestImportWritesProjectsThatLint(t *testing.T) {
	fixtures(t, func(t *testing.T, kind, name string, text []byte) {
		imported, err := importer.Import(filepath.Base(name), "", text, lint)
		if err != nil {
			t.Fatal(err)
		}
		if imported.Report.Kind != kind {
			t.Errorf("got kind %s, want %s", imported.Report.Kind, kind)
		}
		if problems := lint(imported.Files); len(problems) > 0 {
			t.Errorf("got %v, want no problems", problems)
		}
		var got strings.Builder
		got.WriteString(imported.Report.Text())
		for _, f := range imported.Files {
			fmt.Fprintf(&got, "\n-- %s --\n%s", f.Name, f.Text)
		}
		golden := strings.TrimSuffix(name, filepath.Ext(name)) + ".golden"
		if *update {
			if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got.String() != string(want) {
			t.Errorf("got\n%s\nwant the text of %s; if the change is intended, run go test -update", got.String(), golden)
		}
	})
}

// sampled is the distance of the lines that TestImportNeverWritesInvalidProjects
// changes.
const sampled = 5

// TestImportNeverWritesInvalidProjects removes and changes lines of the sources. The result lints, or there is one error.
func TestImportNeverWritesInvalidProjects(t *testing.T) {
	fixtures(t, func(t *testing.T, kind, name string, text []byte) {
		t.Parallel()
		lines := strings.Split(string(text), "\n")
		for i := 0; i < len(lines); i += sampled {
			key, _, found := strings.Cut(lines[i], ":")
			others := []string{"", key + ": [\"a b\", {}]", key + ": \"${! \\\"x\\u0000}\"", key + ": null"}
			if kind == importer.N8N {
				others = []string{"", strings.NewReplacer("={{", "={{ (", "\"parameters\": {", "\"other\": {").Replace(lines[i]), strings.Replace(lines[i], "\"value\": \"", "\"value\": \"={{ $x", -1)}
				found = true
			}
			for _, other := range others {
				if other != "" && !found {
					continue
				}
				changed := strings.Join(append(append(append([]string{}, lines[:i]...), other), lines[i+1:]...), "\n")
				imported, err := importer.Import("changed.yaml", kind, []byte(changed), lint)
				if err != nil {
					if strings.Contains(err.Error(), "would not pass lint") {
						t.Errorf("line %d as %q: got %v, want a project", i+1, other, err)
					}
					continue
				}
				if len(imported.Files) == 0 {
					t.Errorf("line %d as %q: got no files and no error", i+1, other)
				}
			}
		}
	})
}

func TestImportRefusesBadSources(t *testing.T) {
	tests := []struct{ name, source, want string }{
		{"empty", "", "the file is empty"},
		{"white space", " \n\t\n", "the file is empty"},
		{"text", "just text\n", "neither a YAML nor a JSON document"},
		{"invalid", "input: [\n", "s.yaml:1: the file is neither YAML nor JSON"},
		{"truncated JSON", `{"nodes": [`, "the file is neither YAML nor JSON"},
		{"binary", "input: a\x00b", "s.yaml:1:9: "},
		{"UTF-16", "\xff\xfei\x00", "UTF-16"},
		{"duplicate keys", "input: {}\noutput: {}\ninput: {}\n", "s.yaml:3:1: the key \"input\" is already used in line 1"},
		{"duplicate keys in JSON", "{\"nodes\": [],\n \"nodes\": []}", "s.yaml:2:2: the key \"nodes\" is already used in line 1"},
		{"two documents of JSON", `{"nodes": []} {"nodes": []}`, "there is more after the JSON document"},
		{"keys that are lists", "input: { ? [a] : b }", "a key is not text"},
		{"deep", "input: " + strings.Repeat("[", 200) + strings.Repeat("]", 200), "nested more than 100 levels deep"},
		{"deep JSON", strings.Repeat(`{"a":`, 200) + "1" + strings.Repeat("}", 200), "nested more than 100 levels deep"},
		{"many aliases", "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [" + strings.Repeat("*a,", 100) + "]\nc: &c [" + strings.Repeat("*b,", 100) + "]\ninput: [" + strings.Repeat("*c,", 100) + "]\n", "more than 1000000 values"},
		{"nodes without names", `{"nodes": [{"type": "a"}], "connections": {}}`, "s.yaml:1:12: a node has no name or no type"},
		{"nodes with one name", `{"nodes": [{"name": "a", "type": "x"}, {"name": "a", "type": "x"}], "connections": {}}`, "two nodes have the name \"a\""},
		{"no trigger", `{"nodes": [{"name": "a", "type": "x"}], "connections": {}}`, "nothing from which a process can be made"},
		{"other YAML", "version: 3\nservices: {}\n", "is not recognized"},
		{"huge", "input: " + strings.Repeat("a", importer.MaxSource), "larger than 20 MiB"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			imported, err := importer.Import("s.yaml", "", []byte(test.source), lint)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
			if imported != nil {
				t.Errorf("got a project of %d files, want none", len(imported.Files))
			}
		})
	}
}

// n8nCall returns a workflow with an HTTP Request node.
func n8nCall(parameters string) string {
	return `{"nodes": [{"name": "a", "type": "x.webhook", "parameters": {}}, {"name": "b", "type": "x.httpRequest", "typeVersion": 4, "parameters": {"method": "POST", ` +
		parameters + `}}], "connections": {"a": {"main": [[{"node": "b"}]]}}}`
}

// TestImportTranslatesBodies checks that bodies without credentials are translated.
func TestImportTranslatesBodies(t *testing.T) {
	for name, source := range map[string]string{
		"JSON":  `"jsonBody": "={\"max_tokens\": 100, \"token\": true, \"password\": \"{{ $json.body.p }}\", \"author\": \"a\"}", "specifyBody": "json"`,
		"raw":   `"contentType": "raw", "body": "={\"max_tokens\": 100, \"password\": \"{{ $json.body.p }}\", \"a\": \"key\"}"`,
		"login": `"url": "=https://u:pw@{{ $env.HOST }}"`,
	} {
		if !strings.Contains(source, `"url"`) {
			source += `, "url": "https://h.example"`
		}
		imported, err := importer.Import("s.json", "", []byte(n8nCall(`"sendBody": true, `+source)), lint)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if text := imported.Report.Text(); !strings.Contains(text, "httpRequest: call ") || strings.Contains(text, "To do") {
			t.Errorf("%s: got\n%s\nwant a call", name, text)
		}
	}
}

// TestImportOfJSONText checks that bodies that are JSON text become data, which
// the connector sends as JSON once.
func TestImportOfJSONText(t *testing.T) {
	const camel = "- from: { uri: 'platform-http:/a/{id}', steps: [ { setBody: { %s } }, { to: 'https://h.example/a' } ] }"
	tests := []struct{ name, kind, source, want string }{
		{"a document", importer.N8N, `"specifyBody": "json", "jsonBody": "={{ JSON.stringify($json.body) }}"`, "body: ${doc}"},
		{"an object", importer.N8N, `"specifyBody": "json", "jsonBody": "={{ JSON.stringify({a: $json.body.n, b: [1,2], token: $json.body.t}) }}"`, `body: '${{"a": doc?.n, "b": [1, 2], "token": doc?.t}}'`},
		{"a member", importer.N8N, `"specifyBody": "json", "jsonBody": "={\"a\": {{ JSON.stringify($json.body.a) }}}"`, "a: ${doc?.a}"},
		{"a condition", importer.N8N, `"specifyBody": "json", "jsonBody": "={{ $json.body.a ? $json.body.toJsonString() : '{}' }}"`, `body: '${json((doc?.a ? tojson(doc) : "{}"))}'`},
		{"a raw document", importer.N8N, `"contentType": "raw", "rawContentType": "application/json", "body": "={{ JSON.stringify($json.body) }}"`, "body: ${doc}"},
		{"raw JSON", importer.N8N, `"contentType": "raw", "rawContentType": "application/json", "body": "={\"a\": {{ $json.body.a }}}"`, "a: ${doc?.a}"},
		{"expressions of Camel", importer.Camel, `simple: '{"order":"${body[id]}","n":${body[n]}, "all": ${body}}'`, "map:\n      order: ${doc?.id}\n      n: ${doc?.n}\n      all: ${doc}\n"},
		{"a list of Camel", importer.Camel, `simple: '{"items":[${body[number]}, 2]}'`, "items:\n        - ${doc?.number}\n        - 2\n"},
		{"text of Camel", importer.Camel, `simple: '{"n": ${header.id}, "m": {{max.n}}}'`, "n: ${json(string(request.params.id))}\n      m: ${json(string(env.MAX_N))}\n"},
		{"quotes in an expression of Camel", importer.Camel, `simple: '{"a": "x ${body["id"]}", "n": ${body["n"]}}'`, "a: x ${doc?.id}\n      n: ${doc?.n}\n"},
		{"a constant of Camel", importer.Camel, `constant: '{"n": {{max.n}}}'`, "n: ${json(string(env.MAX_N))}\n"},
		{"two expressions for a number", importer.Camel, `simple: '{"n":${body[a]}${body[b]}}'`, "the body is not JSON"},
		{"a computed key of Camel", importer.Camel, `simple: '{"${body[a]}": 1}'`, "a computed key is not translated"},
		{"text in brackets", importer.Camel, `simple: '[${body[a]}] arrived'`, `map: '[${doc?.a}] arrived'`},
		{"raw text as JSON", importer.N8N, `"contentType": "raw", "rawContentType": "application/json", "body": "=not {{ $json.body.a }}"`, "the text is not JSON"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			source := fmt.Sprintf(camel, test.source)
			if test.kind == importer.N8N {
				source = n8nCall(`"url": "https://h.example", "sendBody": true, ` + test.source)
			}
			imported, err := importer.Import("s.yaml", test.kind, []byte(source), lint)
			if err != nil {
				t.Fatal(err)
			}
			all := imported.Report.Text()
			for _, f := range imported.Files {
				all += f.Text
			}
			if !strings.Contains(all, test.want) {
				t.Errorf("got\n%s\nwant %s", all, test.want)
			}
		})
	}
}

// TestImportCopiesNoSecrets checks that credentials of a source appear neither in
// the project nor in the report.
func TestImportCopiesNoSecrets(t *testing.T) {
	tests := []struct{ name, kind, source string }{
		{"a URL", importer.Benthos, "output: { http_client: { url: 'https://u:hunter2@h.example/a?api_key=hunter2&x=1' } }"},
		{"a header", importer.Benthos, "output: { http_client: { url: 'https://h.example', headers: { Authorization: Bearer hunter2, X-Api-Key: hunter2 } } }"},
		{"credentials", importer.Benthos, "output: { http_client: { url: 'https://h.example', basic_auth: { enabled: true, username: u, password: hunter2 } } }"},
		{"a broker", importer.Benthos, "input: { amqp_0_9: { urls: ['amqp://u:hunter2@h.example:5672/'], queue: q } }"},
		{"SASL", importer.Benthos, "input: { kafka: { addresses: [h], topics: [t], consumer_group: g, sasl: { mechanism: PLAIN, user: u, password: hunter2 } } }"},
		{"a database", importer.Benthos, "output: { sql_insert: { driver: postgres, dsn: 'postgres://u:hunter2@h.example/d', table: t, columns: [a], args_mapping: 'root = [this.a]' } }"},
		{"MySQL", importer.Benthos, "output: { sql_raw: { driver: mysql, dsn: 'u:hunter2@tcp(h.example:3306)/d', query: 'select 1' } }"},
		{"a part that is unknown", importer.Benthos, "output: { redis_list: { url: 'redis://u:hunter2@h.example', password: hunter2, key: k } }"},
		{"a setting that is unknown", importer.Benthos, "output: { http_client: { url: 'https://h.example', signing_token: hunter2 } }"},
		{"Camel parameters", importer.Camel, "- from: { uri: 'kafka:t?brokers=b&saslMechanism=PLAIN&user=u&password=hunter2', steps: [ { toD: 'https://u:hunter2@h.example/?apikey=hunter2' } ] }"},
		{"a header of Camel", importer.Camel, "- from: { uri: 'direct:a', steps: [ { setHeader: { name: Authorization, constant: Bearer hunter2 } }, { to: 'slack:x?token=hunter2' } ] }"},
		{"n8n", importer.N8N, `{"nodes": [{"name": "a", "type": "x.webhook", "parameters": {}}, {"name": "b", "type": "x.httpRequest", "typeVersion": 4, "parameters": {"url": "https://u:hunter2@h.example/?key=hunter2", "sendHeaders": true, "headerParameters": {"parameters": [{"name": "Authorization", "value": "Bearer hunter2"}]}, "sendBody": true, "bodyParameters": {"parameters": [{"name": "password", "value": "hunter2"}]}}}], "connections": {"a": {"main": [[{"node": "b"}]]}}}`},
		{"a JSON body of n8n", importer.N8N, n8nCall(`"url": "https://h.example", "sendBody": true, "specifyBody": "json", "jsonBody": "{\"user\": \"u\", \"password\": \"hunter2\"}"`)},
		{"a list in a JSON body of n8n", importer.N8N, n8nCall(`"url": "https://h.example", "sendBody": true, "specifyBody": "json", "jsonBody": "={\"a\": {\"secrets\": [{\"v\": \"hunter2\"}]}, \"b\": {{ $json.b }}}"`)},
		{"a number in a JSON body of n8n", importer.N8N, n8nCall(`"url": "https://h.example", "sendBody": true, "specifyBody": "json", "jsonBody": "{\"password\": 7, \"pwd\": \"hunter2\"}"`)},
		{"a raw body of n8n", importer.N8N, n8nCall(`"url": "https://h.example", "sendBody": true, "contentType": "raw", "rawContentType": "application/json", "body": "={\"user\": {{ $json.u }}, \"password\": \"hunter2\"}"`)},
		{"an object in an expression of n8n", importer.N8N, n8nCall(`"url": "https://h.example", "sendBody": true, "specifyBody": "json", "jsonBody": "={{ JSON.stringify({password: 'hunter2'}) }}"`)},
		{"an object in a raw body of n8n", importer.N8N, n8nCall(`"url": "https://h.example", "sendBody": true, "contentType": "raw", "rawContentType": "application/json", "body": "={{ JSON.stringify({password: 'hunter2'}) }}"`)},
		{"a form of n8n", importer.N8N, n8nCall(`"url": "https://h.example", "sendBody": true, "contentType": "raw", "body": "a=1&client_secret=hunter2"`)},
		{"XML of n8n", importer.N8N, n8nCall(`"url": "https://h.example", "sendBody": true, "contentType": "raw", "body": "<a><s:password type='x'><![CDATA[hunter2]]></s:password></a>"`)},
		{"a computed member of n8n", importer.N8N, n8nCall(`"url": "https://h.example", "sendBody": true, "bodyParameters": {"parameters": [{"name": "password", "value": "=hunter2"}]}`)},
		{"a login before a host from the environment", importer.N8N, n8nCall(`"url": "=https://u:hunter2@{{ $env.HOST }}/a"`)},
		{"a password after a user from the environment", importer.N8N, n8nCall(`"url": "=https://{{ $env.NAME }}:hunter2@h.example/a"`)},
		{"a login before a host from the message", importer.N8N, n8nCall(`"url": "=https://u:hunter2@{{ $json.host }}/a"`)},
		{"a login of Benthos before a host from the environment", importer.Benthos, "output: { http_client: { url: 'https://u:hunter2@${HOST}/a' } }"},
		{"a default of the environment", importer.Benthos, "output: { http_client: { url: '${API_TOKEN:hunter2}' } }"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			imported, err := importer.Import("s.yaml", test.kind, []byte(test.source), lint)
			if err != nil {
				t.Fatal(err)
			}
			all := imported.Report.Text()
			for _, f := range imported.Files {
				all += f.Text
			}
			if strings.Contains(all, "hunter2") {
				t.Errorf("got the secret in\n%s", all)
			}
		})
	}
}

// TestListenersAreProtected checks that no listener accepts all callers.
func TestListenersAreProtected(t *testing.T) {
	fixtures(t, func(t *testing.T, kind, name string, text []byte) {
		imported, err := importer.Import(filepath.Base(name), kind, text, lint)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range imported.Files {
			if strings.Contains(f.Text, "auth: none") || strings.Contains(f.Text, "scheme: none") {
				t.Errorf("%s: got a listener without authentication", f.Name)
			}
		}
	})
}

// TestCyclesEnd imports a workflow whose connections form cycles.
func TestCyclesEnd(t *testing.T) {
	source := `{"nodes": [{"name": "w", "type": "x.webhook"}, {"name": "a", "type": "x.if"}, {"name": "b", "type": "x.noOp"}], "connections": {
		"w": {"main": [[{"node": "a"}]]}, "a": {"main": [[{"node": "b"}, {"node": "a"}], [{"node": "w"}, {"node": "b"}]]}, "b": {"main": [[{"node": "a"}, {"node": "b"}]]}}}`
	imported, err := importer.Import("s.json", "", []byte(source), lint)
	if err != nil {
		t.Fatal(err)
	}
	if text := imported.Report.Text(); !strings.Contains(text, "goes back to an earlier node") {
		t.Errorf("got %s, want the cycles in the report", text)
	}
}

// TestNamesOfProcessesAreSafe checks that no name of a source leads out of the
// project.
func TestNamesOfProcessesAreSafe(t *testing.T) {
	for _, name := range []string{"../../etc/passwd", "..", "/", "a/../../b.yaml", "connections.yaml", "auth.yaml", "not-imported.yaml", strings.Repeat("x", 300), "\u202e.yaml", "C:\\con.yaml", ""} {
		imported, err := importer.Import(name, "", []byte("input: { generate: { interval: 1m, mapping: 'root = {}' } }"), lint)
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		seen := map[string]bool{}
		for _, f := range imported.Files {
			if f.Name != filepath.Base(f.Name) || strings.Trim(f.Name, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" || len(f.Name) > 70 || seen[f.Name] {
				t.Errorf("%q: got the file %q, want another one", name, f.Name)
			}
			seen[f.Name] = true
		}
	}
}
