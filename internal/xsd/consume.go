package xsd

import (
	"fmt"
	"strconv"
	"strings"
)

// queue holds the occurrences of an element that have not been written.
type queue struct {
	items []any
	list  bool
	next  int
}

func (q *queue) empty() bool { return q == nil || q.next == len(q.items) }

// consumer writes the members of an object in the order of a content model.
type consumer struct {
	w       *Encoder
	fields  *fields
	queues  map[string]*queue
	unknown []string // keys that only a wildcard allows
	left    int      // items that have not been written, without unknown ones
	failed  bool
}

// fail reports a violation of the content model. Later ones follow from the
// first.
func (c *consumer) fail(detail string) {
	if !c.failed {
		c.failed = true
		c.w.fail(detail)
	}
}

// has reports whether the particle has something to write.
func (c *consumer) has(p *Particle) bool {
	switch p.Kind {
	case ElementParticle:
		return c.pick(p) != nil
	case Wildcard:
		return len(c.unknown) > 0
	}
	for _, q := range p.Parts {
		if c.has(q) {
			return true
		}
	}
	return false
}

// pick returns the element of a particle that is to be written next, or nil.
func (c *consumer) pick(p *Particle) *Element {
	if c.left == 0 {
		return nil
	}
	for _, e := range p.Element.candidates() {
		if !c.queues[e.Name.Local].empty() {
			return e
		}
	}
	return nil
}

// particle writes the occurrences of a particle.
func (w *Encoder) particle(c *consumer, p *Particle) {
	for n := 0; (p.Max == Unbounded || n < p.Max) && !c.failed; n++ {
		if !c.has(p) {
			if n < p.Min && !p.optional() {
				c.missing(p, n)
			}
			return
		}
		before := c.left + len(c.unknown)
		c.once(p)
		if before == c.left+len(c.unknown) {
			return
		}
	}
}

func (c *consumer) once(p *Particle) {
	switch p.Kind {
	case ElementParticle:
		c.write(c.pick(p))
	case Wildcard:
		key := c.unknown[0]
		c.unknown = c.unknown[1:]
		c.w.path = append(c.w.path, key)
		c.w.genericElement(key, c.queues[key].items[0])
		c.w.path = c.w.path[:len(c.w.path)-1]
	case Choice:
		for _, q := range p.Parts {
			if c.has(q) {
				c.w.particle(c, q)
				return
			}
		}
	default:
		for _, q := range p.Parts {
			c.w.particle(c, q)
		}
	}
}

// write writes the next occurrence of an element.
func (c *consumer) write(e *Element) {
	q := c.queues[e.Name.Local]
	v := q.items[q.next]
	depth := len(c.w.path)
	if c.w.path = append(c.w.path, e.Name.Local); q.list {
		c.w.path = append(c.w.path, strconv.Itoa(q.next))
	}
	q.next++
	c.left--
	c.w.element(e, v)
	c.w.path = c.w.path[:depth]
}

func (c *consumer) missing(p *Particle, n int) {
	names := p.first(nil)
	if p.Kind == Choice && len(names) > 1 {
		c.fail("one of `" + strings.Join(names, "`, `") + "` is missing")
		return
	}
	for _, e := range p.elements(nil) { // the first one that is required
		if f := c.fields.byName[e.Name]; f != nil && (f.required || len(names) == 1) {
			names = []string{e.Name.Local}
			break
		}
	}
	if n > 0 {
		c.fail(fmt.Sprintf("`%s` occurs %d times, the minimum is %d", names[0], n, p.Min))
		return
	}
	c.fail("`" + names[0] + "` is missing")
}

// leftovers reports the members that the content model did not use.
func (c *consumer) leftovers() {
	if c.failed {
		return
	}
	for _, key := range c.fields.keys {
		q := c.queues[key]
		switch {
		case q.empty():
		case q.next == 0:
			c.fail("`" + key + "` cannot stand together with the other elements: the schema allows only one of them")
		default:
			c.fail(fmt.Sprintf("`%s` occurs %d times, the maximum is %d", key, len(q.items), q.next))
		}
	}
	for _, key := range c.unknown {
		c.fail("`" + key + "` is not allowed here")
	}
}
