package examples

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"valence/internal/test/servers"
)

// The commands in deploy/group start the members of a group, on a real database. The tools of these files check the rest, in internal/test/manifests.
func TestManifestsStartAGroup(t *testing.T) {
	server, err := servers.NewPostgres()
	if err == nil {
		err = server.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Remove)
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte(servers.PostgresPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join("..", "..", "..", "deploy", "group")
	for _, c := range []struct {
		name string
		args []string
	}{
		{"compose", composeArgs(t, filepath.Join(folder, "compose.yaml"))},
		{"kubernetes", kubernetesArgs(t, filepath.Join(folder, "kubernetes.yaml"))},
	} {
		t.Run(c.name, func(t *testing.T) {
			database := strings.Replace(server.URL(server.Database(t)), ":"+servers.PostgresPassword+"@", "@", 1)
			var members [2]*atom
			for i := range members {
				data := t.TempDir()
				args := slices.Clone(c.args)
				for j, a := range args {
					switch name, _, _ := strings.Cut(a, "="); {
					case a == "/project":
						args[j] = configMap(t, filepath.Join(folder, "project"))
					case name == "--store":
						args[j] = "--store=" + database
					case name == "--data":
						args[j] = "--data=" + data
					case name == "--listen":
						args[j] = "--listen=127.0.0.1:0"
					case name == "--shutdown-delay":
						args[j] = "--shutdown-delay=1s"
					}
				}
				cmd := exec.Command(binary, append(args, "--admin=127.0.0.1:0")...)
				cmd.Env = append(os.Environ(), "PGPASSWORD_FILE="+password)
				members[i] = start(t, cmd, data)
			}
			for _, m := range members {
				resp, err := http.Post(m.listen+"/orders", "application/json", strings.NewReader(`{"id":"A-1","customer":"Ada"}`))
				if err != nil {
					t.Fatal(err)
				}
				text, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					t.Errorf("an order: got %s %s, want 200", resp.Status, text)
				}
			}
			list := exec.Command(binary, "group", "--data", members[1].data)
			out, err := list.CombinedOutput()
			if err != nil || strings.Count(string(out), "\n") < len(members)+1 {
				t.Errorf("valence group: got %v\n%s\nwant both members", err, out)
			}
		})
	}
}

// configMap returns a folder with the links that Kubernetes makes for a mounted
// ConfigMap.
func configMap(t *testing.T, project string) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.CopyFS(filepath.Join(folder, "..2026_01_01"), os.DirFS(project)); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(project)
	if err != nil {
		t.Fatal(err)
	}
	links := map[string]string{"..data": "..2026_01_01"}
	for _, f := range files {
		links[f.Name()] = filepath.Join("..data", f.Name())
	}
	for name, to := range links {
		if err := os.Symlink(to, filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func composeArgs(t *testing.T, file string) []string {
	t.Helper()
	var compose struct {
		Services map[string]struct{ Command any }
	}
	decode(t, file, &compose)
	list, _ := compose.Services["atom"].Command.([]any)
	var args []string
	for _, x := range list {
		args = append(args, x.(string))
	}
	return args
}

// kubernetesArgs returns the arguments of the container, and checks its readiness
// probe.
func kubernetesArgs(t *testing.T, file string) []string {
	t.Helper()
	var deployment struct {
		Spec struct {
			Template struct {
				Spec struct {
					Containers []struct {
						Args           []string
						ReadinessProbe struct {
							HTTPGet struct{ Path string } `yaml:"httpGet"`
						} `yaml:"readinessProbe"`
					}
				}
			}
		}
	}
	decode(t, file, &deployment)
	containers := deployment.Spec.Template.Spec.Containers
	if len(containers) != 1 || len(containers[0].Args) == 0 {
		t.Fatalf("got the containers %+v, want one with arguments", containers)
	}
	if path := containers[0].ReadinessProbe.HTTPGet.Path; path != "/readyz" { // start waits for it
		t.Errorf("got the readiness probe %s, want /readyz", path)
	}
	return containers[0].Args
}

// decode decodes the first document of a YAML file.
func decode(t *testing.T, file string, into any) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := yaml.NewDecoder(f).Decode(into); err != nil {
		t.Fatal(err)
	}
}
