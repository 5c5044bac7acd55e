// Package manifests validates the files in deploy/ with the types and the loader
// of their tools. It is a module of its own, so that the program does not depend
// on them.
package manifests

import (
	"bytes"
	"context"
	"os"
	"slices"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
)

const folder = "../../../deploy/group/"

// Docker Compose loads the file: services, secrets and volumes that are named exist.
func TestCompose(t *testing.T) {
	options, err := cli.NewProjectOptions([]string{folder + "compose.yaml"}, cli.WithOsEnv)
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if names := project.ServiceNames(); !slices.Equal(names, []string{"atom", "balancer", "database"}) {
		t.Errorf("got the services %v, want atom, balancer and database", names)
	}
}

// Kubernetes knows every key, and the selectors match the members.
func TestKubernetes(t *testing.T) {
	text, err := os.ReadFile(folder + "kubernetes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{apps.AddToScheme, core.AddToScheme, policy.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	var members map[string]string
	selected := map[string]map[string]string{}
	for _, document := range bytes.Split(text, []byte("\n---\n")) {
		object, _, err := decoder.Decode(document, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		switch x := object.(type) {
		case *apps.Deployment:
			members = x.Spec.Template.Labels
			selected["Deployment"] = x.Spec.Selector.MatchLabels
			pod := x.Spec.Template.Spec
			for _, m := range pod.Containers[0].VolumeMounts {
				if !slices.ContainsFunc(pod.Volumes, func(v core.Volume) bool { return v.Name == m.Name }) {
					t.Errorf("there is no volume %s", m.Name)
				}
			}
		case *core.Service:
			selected["Service"] = x.Spec.Selector
		case *policy.PodDisruptionBudget:
			selected["PodDisruptionBudget"] = x.Spec.Selector.MatchLabels
		default:
			t.Errorf("got a %T, want a kind that this test knows", x)
		}
	}
	for _, kind := range []string{"Deployment", "Service", "PodDisruptionBudget"} {
		if got := selected[kind]; len(got) == 0 || got["app"] != members["app"] {
			t.Errorf("%s: got the selector %v, want the labels %v", kind, got, members)
		}
	}
}
