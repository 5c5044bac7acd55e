package crash

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"valence/atom/agent/cloudclient"
	"valence/internal/test/servers"
)

// A member that cannot join prints the reason and a hint, and writes nothing.
func TestGroupStartErrors(t *testing.T) {
	sink := newCustomers(t)
	_, members := newGroup(t, 1, sink.addr())
	member := members[0]
	url := member.store[1]
	alone := newAtom(t, sink.addr())
	alone.start()
	alone.stop()
	fresh := filepath.Join(t.TempDir(), "data")
	run := func(data string, env []string, args ...string) (int, string) {
		cmd := exec.Command(binary, append([]string{"run", member.project, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data", data}, args...)...)
		cmd.Env = append(append(os.Environ(), "SINK=http://"+sink.addr(), "PGPASSWORD="+servers.PostgresPassword), env...)
		out, _ := cmd.CombinedOutput()
		return cmd.ProcessState.ExitCode(), string(out)
	}
	for name, c := range map[string]struct {
		data string
		env  []string
		args []string
		code int
		text []string
	}{
		"no group":              {fresh, nil, []string{"--store", url}, 2, []string{"--store needs the name of the group", "--group NAME"}},
		"no store":              {fresh, nil, []string{"--group", "shop"}, 2, []string{"need --store"}},
		"no address":            {fresh, nil, []string{"--store", "mysql://x", "--group", "shop"}, 2, []string{"not the address of a PostgreSQL database", "postgres://user@host"}},
		"an odd name":           {fresh, nil, []string{"--store", url, "--group", "a b"}, 2, []string{"--group must be"}},
		"a limit of the folder": {fresh, nil, []string{"--store", url, "--group", "shop", "--history-max-bytes", "1GiB"}, 2, []string{"--history-max-bytes", "retention"}},
		"a password":            {fresh, nil, []string{"--store", strings.Replace(url, "valence@", "valence:hush@", 1), "--group", "shop"}, 2, []string{"contains a password", "PGPASSWORD_FILE"}},
		"a wrong password":      {fresh, []string{"PGPASSWORD=wrong"}, []string{"--store", url, "--group", "shop"}, 3, []string{"wrong password for the database user valence", "PGPASSWORD_FILE"}},
		"no database":           {fresh, nil, []string{"--store", strings.Replace(url, "/test_1", "/missing", 1), "--group", "shop"}, 3, []string{"has no database missing", "createdb missing"}},
		"no server":             {fresh, nil, []string{"--store", "postgres://valence@127.0.0.1:1/x?sslmode=disable", "--group", "shop"}, 3, []string{"cannot reach the server 127.0.0.1:1", "try: "}},
		"no TLS":                {fresh, nil, []string{"--store", strings.Replace(url, "sslmode=disable", "sslmode=require", 1), "--group", "shop"}, 3, []string{"try: check that the server accepts TLS (ssl = on)"}},
		"another group":         {fresh, nil, []string{"--store", url, "--group", "stock"}, 3, []string{"belongs to the group shop", "--group shop"}},
		"a folder of an atom":   {alone.data, nil, []string{"--store", url, "--group", "shop"}, 3, []string{"has a store of its own", "valence migrate"}},
		"a folder in use":       {member.data, nil, []string{"--store", url, "--group", "shop"}, 3, []string{"another atom uses the data folder", "a folder for each member"}},
		"an enrolled folder":    {enrolledFolder(t), nil, []string{"--store", url, "--group", "shop"}, 3, []string{"enrolled with a control plane, which cannot deploy to a group", "--data DIR"}},
		"a member alone":        {member.data, nil, nil, 3, []string{"belongs to a member of the group shop", "--store postgres://"}},
	} {
		code, out := run(c.data, c.env, c.args...)
		if code != c.code || strings.Contains(out, "hush") || strings.Count("\n"+out, "\nerror: ") != 1 {
			t.Errorf("%s: got exit code %d, want %d:\n%s", name, code, c.code, out)
		}
		for _, part := range c.text {
			if !strings.Contains(out, part) {
				t.Errorf("%s: got\n%swant %q", name, out, part)
			}
		}
		for _, file := range []string{"hot.db", "group.member", "admin.token"} {
			if there(filepath.Join(fresh, file)) {
				t.Errorf("%s: %s was written", name, file)
			}
		}
	}
	for _, args := range [][]string{{"backup", filepath.Join(t.TempDir(), "copy"), "--data", member.data}, {"check", "--data", member.data}} {
		for _, when := range []string{"running", "stopped"} {
			if when == "stopped" && member.cmd.ProcessState == nil {
				member.stop()
			} else if when == "running" && member.cmd.ProcessState != nil {
				member.start()
			}
			out, err := exec.Command(binary, args...).CombinedOutput()
			if err == nil || !strings.Contains(string(out), "error: ") || args[0] == "backup" && !strings.Contains(string(out), "pg_basebackup") {
				t.Errorf("valence %s, %s: got %s, %v, want an error that names the tools", args[0], when, out, err)
			}
		}
	}
	join := exec.Command(binary, "join", "http://127.0.0.1:1", "--token", "vi_x", "--name", "edge", "--data", member.data)
	if out, _ := join.CombinedOutput(); join.ProcessState.ExitCode() == 0 || !strings.Contains(string(out), "belongs to a member of the group shop") {
		t.Errorf("valence join: got exit code %d\n%s\nwant an error that names the group", join.ProcessState.ExitCode(), out)
	}
	if out := member.out.String(); !strings.Contains(out, "synchronous_standby_names") { // it is stopped
		t.Errorf("got the log\n%s\nwant a warning that a failover can lose messages", out)
	}
}

// enrolledFolder returns the data folder of an atom that has joined a control plane.
func enrolledFolder(t *testing.T) string {
	t.Helper()
	id, err := cloudclient.NewIdentity("https://cloud.example", "edge", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	id.Atom = "atom-1"
	text, err := json.Marshal(id)
	if err != nil {
		t.Fatal(err)
	}
	data := t.TempDir()
	if err := os.Mkdir(filepath.Join(data, cloudclient.Folder), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, cloudclient.Folder, cloudclient.IdentityFile), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return data
}
