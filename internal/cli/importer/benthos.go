package importer

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// benthos reads the configuration of Benthos and Redpanda Connect.
type benthos struct {
	*reader
	b         *bloblang
	resources map[string]*yaml.Node // by kind and label, such as "processor a"
	depth     int                   // of resources that use others
	originals int                   // variables with the document before a branch
	budget    int                   // components that may still be translated
	group     string                // of consumers without one
	out       *yaml.Node            // the output
	response  *object               // settings of a synchronous response
}

func readBenthos(r *reader, roots []*yaml.Node) error {
	for _, root := range roots {
		x := &benthos{reader: r, resources: map[string]*yaml.Node{}, budget: 20_000, group: slug(baseName(r.file), "stream")}
		x.b = &bloblang{r: r, assigned: map[string]bool{}, read: map[string]bool{}}
		x.b.meta = func(name string) (string, error) { return member(value{text: "props"}, name).text, nil }
		if err := x.stream(root); err != nil {
			return err
		}
	}
	return nil
}

// stream reads one configuration.
func (x *benthos) stream(root *yaml.Node) error {
	o := x.object(root, "configuration")
	for _, kind := range []string{"input", "processor", "output", "cache", "rate_limit"} {
		x.readResources(kind, o.get(kind+"_resources"))
		x.readOldResources(kind, child(o.get("resources"), kind+"s"))
	}
	for _, key := range []string{"logger", "metrics", "tracer", "http", "tests", "shutdown_delay", "shutdown_timeout", "redpanda"} {
		if n := o.get(key); n != nil {
			x.left(n, "configuration: "+key, "the atom has its own settings for this")
		}
	}
	input, output := o.get("input"), o.get("output")
	pipeline := x.object(o.get("pipeline"), "pipeline")
	if input == nil && output == nil && pipeline.node == nil {
		for _, label := range slices.Sorted(maps.Keys(x.resources)) {
			if name, ok := strings.CutPrefix(label, "processor "); ok {
				n := x.resources[label]
				p := x.process(name)
				p.steps = x.atLeastOne(n, "resource", x.processors([]*yaml.Node{n}, nil))
			}
		}
		o.rest()
		return nil
	}
	processors := pipeline.get("processors")
	pipeline.rest("threads")
	p := x.process(baseName(x.file))
	p.description = "Imported from " + filepath.Base(x.file)
	x.out = output
	x.input(p, input, func(before []*yaml.Node) []*yaml.Node {
		list := append(before, elements(processors)...)
		steps := x.processors(list, func() []*yaml.Node { return x.output(output) })
		if x.b.replies && (output == nil || child(output, "sync_response") == nil) {
			steps = append(steps, x.reply(output, "the end of the response"))
		}
		return steps
	})
	o.rest()
	x.reportUnused()
	return nil
}

func (x *benthos) readResources(kind string, list *yaml.Node) {
	for _, e := range elements(list) {
		if label := child(e, "label"); label != nil {
			x.resources[kind+" "+label.Value] = e
		}
	}
}

// readOldResources reads the resources of versions before 4.
func (x *benthos) readOldResources(kind string, m *yaml.Node) {
	for i := 0; m != nil && m.Kind == yaml.MappingNode && i+1 < len(m.Content); i += 2 {
		x.resources[kind+" "+m.Content[i].Value] = m.Content[i+1]
	}
}

// reportUnused reports the resources that have no counterpart of their own.
func (x *benthos) reportUnused() {
	for _, kind := range []string{"cache", "rate_limit"} {
		for _, label := range slices.Sorted(maps.Keys(x.resources)) {
			if strings.HasPrefix(label, kind+" ") {
				x.left(x.resources[label], strings.Replace(label, "_", " ", 1), "no counterpart of its own")
			}
		}
	}
}

// elements returns the elements of a list, or nil.
func elements(n *yaml.Node) []*yaml.Node {
	if n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	return n.Content
}

// component returns the kind of a component with its settings.
func (x *benthos) component(n *yaml.Node) (key *yaml.Node, settings *object) {
	if t := child(n, "type"); t != nil && t.Kind == yaml.ScalarNode { // the form of versions before 4
		return t, x.object(child(n, t.Value), t.Value)
	}
	key, v := only(n, "label", "processors", "description", "type", "plugin")
	if key == nil {
		key, v = only(n, "label", "description", "type", "plugin")
	}
	if key == nil {
		return nil, nil
	}
	return key, x.object(v, key.Value)
}

// template translates a text setting.
func (x *benthos) template(o *object, keys ...string) (template, error) {
	return x.b.interpolate(o.text(keys...), false)
}

// plain translates a setting that reads at most the environment.
func (x *benthos) plain(o *object, keys ...string) (template, error) {
	t, err := x.b.interpolate(o.text(keys...), false)
	if err == nil && !t.fixed() {
		err = fmt.Errorf("%s depends on the message", keys[0])
	}
	return t, err
}

// credential returns the expression of a credential, "" without one. One that
// is written out becomes a secret.
func (x *benthos) credential(o *object, name string, keys ...string) string {
	v := o.text(keys...)
	if v == "" {
		return ""
	}
	if t, err := x.b.interpolate(v, true); err == nil && len(t) == 1 && t[0].expr && strings.HasPrefix(t[0].text, "secret.") {
		return t.String()
	}
	return x.secret(name, o.part+": "+keys[0])
}

// condition translates a check. One that cannot be translated is false, and the
// returned step, which fails, comes before it.
func (x *benthos) condition(at *yaml.Node, part string) (string, *yaml.Node) {
	v, err := x.b.translate(at.Value)
	if err != nil {
		return "false", x.todo(at, part+": "+at.Value, err.Error())
	}
	return v.text, nil
}
