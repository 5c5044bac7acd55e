package access

import (
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"valence/internal/egress"
	"valence/internal/fault"
)

// machine returns a folder of its own with the data folder of an atom in it.
func machine(t *testing.T, policy string) (top, data string) {
	t.Helper()
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	data = filepath.Join(top, "var", "data")
	put(t, filepath.Join(data, "atom.key"), "private")
	put(t, filepath.Join(data, "cloud", "identity.json"), "private")
	if policy != "" {
		put(t, filepath.Join(data, File), policy)
	}
	return top, data
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func deployed(t *testing.T, policy string) (p *Policy, top string) {
	t.Helper()
	top, data := machine(t, strings.ReplaceAll(policy, "TOP", "/top"))
	if policy != "" {
		put(t, filepath.Join(data, File), strings.ReplaceAll(policy, "TOP", top))
	}
	p, err := Deployed(data)
	if err != nil {
		t.Fatal(err)
	}
	return p, top
}

// TestDataFolderIsOutOfReach checks that no path, link or other name of a file
// leads into the data folder, for projects of this machine and for deployed
// ones that may use everything.
func TestDataFolderIsOutOfReach(t *testing.T) {
	top, data := machine(t, "roots: [/]\nsecret_files: [/]\n")
	put(t, filepath.Join(top, "in", "ok.txt"), "ok")
	link := func(from, to string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(top, from)); err != nil {
			t.Fatal(err)
		}
	}
	link("in/up", "../var")
	link("in/direct", "../var/data")
	link("in/file", "../var/data/atom.key")
	link("in/chain", "direct")
	link("in/new", "../var/data/new.txt") // does not exist
	if err := os.Link(filepath.Join(data, "atom.key"), filepath.Join(top, "in", "hard")); err != nil {
		t.Fatal(err)
	}
	local, err := Local(data)
	if err != nil {
		t.Fatal(err)
	}
	all, err := Deployed(data)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*Policy{local, all} {
		for _, dir := range []string{data, data + "/cloud", top + "/in/direct", top + "/in/chain", top + "/in/../var/data", top + "/var/./data/"} {
			if err := p.CheckRoot(dir); !errors.Is(err, errData) {
				t.Errorf("root %s: got %v, want %v", dir, err, errData)
			}
			if _, err := p.OpenRoot(dir); !errors.Is(err, errData) {
				t.Errorf("open %s: got %v, want %v", dir, err, errData)
			}
		}
		for _, file := range []string{data + "/atom.key", top + "/in/up/data/atom.key", top + "/in/file", top + "/in/hard", top + "/in/direct/new"} {
			if _, err := p.ReadFile(file); !errors.Is(err, errData) {
				t.Errorf("read %s: got %v, want %v", file, err, errData)
			}
			if _, err := p.Path(file); !errors.Is(err, errData) {
				t.Errorf("path %s: got %v, want %v", file, err, errData)
			}
		}
		t.Run("relative", func(t *testing.T) {
			t.Chdir(filepath.Join(top, "var"))
			if err := p.CheckRoot("data"); !errors.Is(err, errData) {
				t.Errorf("root data: got %v, want %v", err, errData)
			}
			if _, err := p.OpenRoot("../in/direct"); !errors.Is(err, errData) {
				t.Errorf("root ../in/direct: got %v, want %v", err, errData)
			}
		})
		testRoot(t, p, top)
	}
}

// testRoot checks the operations of a folder that contains the data folder.
func testRoot(t *testing.T, p *Policy, top string) {
	t.Helper()
	root, err := p.OpenRoot(top)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	open := func(f interface{ Close() error }, err error) error {
		if err == nil {
			_ = f.Close()
		}
		return err
	}
	for _, name := range []string{"var/data/policy.yaml" + strings.Repeat("/a", 41), "missing/../var/data/y"} {
		if err := root.MkdirAll(name, 0o700); !errors.Is(err, errData) {
			t.Errorf("mkdir %.40s: got %v, want %v", name, err, errData)
		}
	}
	if _, err := os.Lstat(filepath.Join(top, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: got %v, want no folder", err)
	}
	if err := root.MkdirAll("in/a/b/c", 0o700); err != nil {
		t.Errorf("mkdir in/a/b/c: got %v, want nil", err)
	}
	for _, name := range []string{"var/data", "var/data/", "var/data/atom.key", "./var//data/atom.key", "in/up/data/atom.key", "in/direct/atom.key", "in/direct/cloud/identity.json",
		"in/file", "in/chain/atom.key", "in/new", "var/data/new", "in/direct/new/deep", "in/hard", "in/../var/data/atom.key", "var/data/../data/atom.key"} {
		file := open(root.Open(name))
		written := open(root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600))
		for what, err := range map[string]error{"open": file, "append": written, "write": root.WriteFile(name, []byte("overwritten"), 0o600)} {
			if !errors.Is(err, errData) {
				t.Errorf("%s %s: got %v, want %v", what, name, err, errData)
			}
		}
		if name == "in/hard" {
			continue // its other name is not in the data folder
		}
		_, stat := root.Stat(name)
		_, lstat := root.Lstat(name)
		for what, err := range map[string]error{
			"stat": stat, "lstat": lstat, "mkdir": root.MkdirAll(name, 0o700), "remove": root.Remove(name), "rename": root.Rename(name, "in/stolen"),
			"replace": root.Rename("in/ok.txt", name), "link": root.Link(name, "in/stolen"), "link to": root.Link("in/ok.txt", name),
		} {
			if !errors.Is(err, errData) {
				t.Errorf("%s %s: got %v, want %v", what, name, err, errData)
			}
		}
	}
	if err := root.Rename("var", "elsewhere"); !errors.Is(err, errData) {
		t.Errorf("rename the folder above: got %v, want %v", err, errData)
	}
	for _, path := range []string{"var/data/atom.key", "var/data/cloud/identity.json"} {
		if got, err := os.ReadFile(filepath.Join(top, path)); string(got) != "private" {
			t.Errorf("%s: got %q, %v, want it unchanged", path, got, err)
		}
	}
	// Everything else works as usual.
	if err := errors.Join(root.MkdirAll("in/a", 0o755), root.WriteFile("in/a/x", []byte("long"), 0o600), root.WriteFile("in/a/x", []byte("x"), 0o600),
		root.Link("in/a/x", "in/a/y"), root.Rename("in/a/y", "in/a/z"), open(root.Open("in/a/z")), root.Remove("in/a/z"), open(root.Open("in"))); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(filepath.Join(top, "in/a/x")); string(got) != "x" {
		t.Errorf("in/a/x: got %q, %v, want x", got, err)
	}
	if _, err := root.Open("in/missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in/missing: got %v, want %v", err, fs.ErrNotExist)
	}
}

// TestDeployedPackagesMayUseTheNetworkOnly checks the policy of an atom without
// a file.
func TestDeployedPackagesMayUseTheNetworkOnly(t *testing.T) {
	for _, text := range []string{"", "# nothing yet\n", "connectors: [file, http]\n"} {
		p, top := deployed(t, text)
		for what, err := range map[string]error{
			"the variable HOME": p.Variable("HOME"), "the folder " + top: p.CheckRoot(top), "the folder /": p.CheckRoot("/"),
			"the file /etc/passwd": p.CheckSecretFile("/etc/passwd"), "the file /missing": p.CheckSecretFile("/missing"),
		} {
			var refusal *Refusal
			if !errors.As(err, &refusal) || !strings.Contains(refusal.Msg, what) || !strings.Contains(refusal.Hint, "policy.yaml") {
				t.Errorf("%s: got %v, want a refusal with a hint", what, err)
			}
		}
		for _, ok := range []error{p.Connector("http"), p.CheckURL(at("https://erp.example")), p.CheckURL(at("http://127.0.0.1:8080")), p.CheckURL(at("http://10.0.0.1"))} {
			if ok != nil {
				t.Errorf("got %v, want nil", ok)
			}
		}
		for _, u := range []string{"http://169.254.169.254/latest", "http://[fe80::1]/", "http://[::ffff:169.254.169.254]/"} {
			if err := p.CheckURL(at(u)); err == nil {
				t.Errorf("%s: got nil, want a refusal", u)
			}
		}
	}
}

func at(u string) *url.URL {
	parsed, err := url.Parse(u)
	if err != nil {
		panic(err)
	}
	return parsed
}

func TestPolicyAllows(t *testing.T) {
	p, top := deployed(t, `
connectors: [http]
hosts: [erp.example, "*.shop.example:443", 10.1.0.0/16, 169.254.169.254]
roots: [TOP/in]
variables: [ERP_PASSWORD, SHOP_*]
secret_files: [TOP/secrets, TOP/one]
`)
	put(t, filepath.Join(top, "in", "a", "x"), "")
	put(t, filepath.Join(top, "secrets", "x"), "")
	if err := os.Symlink(filepath.Join(top, "secrets"), filepath.Join(top, "in", "out")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what string
		err  error
		ok   bool
	}{
		{"http", p.Connector("http"), true}, {"file", p.Connector("file"), false},
		{"ERP_PASSWORD", p.Variable("ERP_PASSWORD"), true}, {"ERP_PASSWORD2", p.Variable("ERP_PASSWORD2"), false}, {"SHOP_URL", p.Variable("SHOP_URL"), true}, {"PATH", p.Variable("PATH"), false},
		{"in", p.CheckRoot(top + "/in"), true}, {"in/a", p.CheckRoot(top + "/in/a"), true}, {"in/missing", p.CheckRoot(top + "/in/missing"), true},
		{"top", p.CheckRoot(top), false}, {"inside", p.CheckRoot(top + "/inside"), false}, {"in/..", p.CheckRoot(top + "/in/.."), false}, {"a link out", p.CheckRoot(top + "/in/out"), false},
		{"secrets/x", p.CheckSecretFile(top + "/secrets/x"), true}, {"one", p.CheckSecretFile(top + "/one"), true}, {"two", p.CheckSecretFile(top + "/two"), false}, {"a root", p.CheckSecretFile(top + "/in/a/x"), false},
		{"erp.example", p.CheckURL(at("https://ERP.example./x")), true}, {"evil", p.CheckURL(at("https://erp.example.evil.test")), true}, // may have an allowed address
		{"eu.shop.example", p.CheckURL(at("https://eu.shop.example")), true},
		{"10.1.2.3", p.CheckURL(at("http://10.1.2.3:99")), true}, {"10.2.2.3", p.CheckURL(at("http://10.2.2.3")), false}, {"metadata", p.CheckURL(at("http://169.254.169.254")), true},
	} {
		if (c.err == nil) != c.ok {
			t.Errorf("%s: got %v, want allowed = %v", c.what, c.err, c.ok)
		}
	}
}

func TestInvalidPolicies(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"root: [/x]\n", "policy.yaml:1:1: error: the policy has no key `root`"},
		{"roots: [x]\n", "policy.yaml:1:9: error: `x` must be an absolute path"},
		{"hosts:\n  - erp.example\n  - https://erp.example/\n", "policy.yaml:3:5: error: `https://erp.example/` is not a host name"},
		{"variables: [ERP-URL]\n", "policy.yaml:1:13: error: `ERP-URL` is not the name of a variable"},
		{"hosts: \"a b\"\n", "policy.yaml:1:8: error: `a b` is not a host name"},
		{"hosts: 10.0.0.0/99\n", "policy.yaml:1:8: error: "},
		{"roots: tmp\n", "policy.yaml:1:8: error: `tmp` must be an absolute path"},
		{"secret_files: tmp\n", "policy.yaml:1:15: error: `tmp` must be an absolute path"},
		{"variables: ERP-URL\n", "policy.yaml:1:12: error: `ERP-URL` is not the name of a variable"},
		{"hosts:\n", "policy.yaml:1:7: error: `hosts:` has no value"},
		{"hosts: { a: b }\n", "policy.yaml:1:8: error: "},
		{"hosts: [a]\nhosts: [b]\n", "policy.yaml:2:1: error: the key `hosts` is already used"},
		{"- a\n", "policy.yaml:1:1: error: the policy must be a map"},
		{"hosts: [a]\n---\nroots: [/x]\n", "policy.yaml:3:1: error: the policy has more than one document"},
		{"\thosts: [a]\n", "policy.yaml:1:1: error: "},
		{"hosts: [*x]\n", "policy.yaml:1:9: error: "},
		{"connectors: [http, htpt]\n", "policy.yaml:1:20: error: there is no connector `htpt` [policy]\n    try: did you mean `http`?"},
		{"connectors: [\"${env.X}\"]\n", "policy.yaml:1:14: error: "},
	} {
		_, data := machine(t, c.text)
		_, err := Deployed(data, "amqp", "http", "sql")
		var problems fault.Problems
		if !errors.As(err, &problems) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %s", c.text, err, c.want)
		}
	}
	_, data := machine(t, "hosts: []\n")
	p, err := Deployed(data)
	if err != nil || p.CheckURL(at("https://erp.example")) == nil {
		t.Errorf("hosts: []: got %v, want no host", err)
	}
}

func TestNilPolicyRestrictsNothing(t *testing.T) {
	var p *Policy
	top, data := machine(t, "")
	root, err := p.OpenRoot(top)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	_, statErr := root.Stat("var/data/atom.key")
	if err := errors.Join(p.Connector("x"), p.Variable("x"), p.CheckRoot(data), p.CheckSecretFile("/x"), p.CheckURL(at("http://169.254.169.254")), statErr); err != nil {
		t.Error(err)
	}
}

func TestRefusalsAreKnown(t *testing.T) {
	if err := error(&Refusal{}); !errors.Is(err, fs.ErrPermission) || !errors.Is(err, egress.ErrRefused) {
		t.Errorf("got %v, want fs.ErrPermission and egress.ErrRefused", err)
	}
}

// TestReference checks that the reference describes each key, and that its
// example is valid.
func TestReference(t *testing.T) {
	page, err := os.ReadFile("../../docs/reference/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range Fields {
		if key := f.Info().Key; !strings.Contains(string(page), "\n| `"+key+"` |") {
			t.Errorf("%s: not in the reference", key)
		}
	}
	_, rest, _ := strings.Cut(string(page), "```yml\n")
	example, _, ok := strings.Cut(rest, "```")
	_, data := machine(t, example)
	if p, err := Deployed(data); err != nil || !ok || p.Variable("SHOP_URL") != nil {
		t.Errorf("the example: got %v, want it to be valid", err)
	}
}
