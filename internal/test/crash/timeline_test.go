package crash

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// timeline records which member delivered which order, and draws it.
type timeline struct {
	began     time.Time
	orders    []delivered
	marks     []mark
	customers map[string]map[int]int // the member that delivered each order last
}

// delivered is the delivery of an order.
type delivered struct {
	after  time.Duration
	member int
}

// mark is an event.
type mark struct {
	after time.Duration
	what  string
}

func newTimeline() timeline {
	return timeline{began: time.Now(), customers: map[string]map[int]int{}}
}

func (l *timeline) add(customer string, n, member int) {
	l.orders = append(l.orders, delivered{time.Since(l.began), member})
	if l.customers[customer] == nil {
		l.customers[customer] = map[int]int{}
	}
	l.customers[customer][n] = member
}

func (l *timeline) mark(what string) {
	l.marks = append(l.marks, mark{time.Since(l.began), what})
}

const (
	columns = 64 // of a drawing
	bars    = "▁▂▃▄▅▆▇█"
)

// draw returns the orders of each member over time, and the member that delivered
// each order of each customer.
func (l *timeline) draw() string {
	var b strings.Builder
	end := time.Second
	for _, d := range l.orders {
		end = max(end, d.after)
	}
	width := (end + columns) / columns
	counts := map[int][]int{}
	most := 1
	for _, d := range l.orders {
		if counts[d.member] == nil {
			counts[d.member] = make([]int, columns)
		}
		at := min(int(d.after/width), columns-1)
		counts[d.member][at]++
		most = max(most, counts[d.member][at])
	}
	fmt.Fprintf(&b, "Orders over time. Each column is %s, the highest has %d orders.\n\n", width.Round(10*time.Millisecond), most)
	for _, member := range sortedKeys(counts) {
		line := ""
		for _, n := range counts[member] {
			line += bar(n, most)
		}
		fmt.Fprintf(&b, "  member %d  %s\n", member, strings.TrimRight(line, " "))
	}
	for _, m := range l.marks {
		at := min(int(m.after/width), columns-1)
		text := "↑ " + m.what
		if at+len([]rune(text)) > columns { // to the left of the arrow
			text = m.what + " ↑"
			at = max(at-len([]rune(text))+1, 0)
		}
		fmt.Fprintf(&b, "            %s%s\n", strings.Repeat(" ", at), text)
	}
	b.WriteString("\nOrders of each customer, from the first to the last: the member that delivered it.\n\n")
	for _, customer := range sortedKeys(l.customers) {
		fmt.Fprintf(&b, "  %8s  ", customer)
		for _, n := range sortedKeys(l.customers[customer]) {
			fmt.Fprint(&b, l.customers[customer][n])
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func bar(n, most int) string {
	if n == 0 {
		return " "
	}
	levels := []rune(bars)
	return string(levels[(n*len(levels)-1)/most])
}

// sortedKeys returns the keys of a map; of texts, the shorter ones first.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b K) int {
		return cmp.Or(cmp.Compare(len(fmt.Sprint(a)), len(fmt.Sprint(b))), cmp.Compare(a, b))
	})
	return keys
}

func TestTimelineIsDrawn(t *testing.T) {
	l := newTimeline()
	l.add("c2", 1, 1)
	l.add("c10", 1, 2)
	l.add("c2", 2, 2)
	l.orders = []delivered{{0, 1}, {64 * time.Second, 2}, {64 * time.Second, 2}}
	l.marks = []mark{{0, "begins"}, {64 * time.Second, "ends"}}
	got := l.draw()
	for _, line := range []string{
		"  member 1  ▄\n", "  member 2  " + strings.Repeat(" ", columns-1) + "█\n", "            ↑ begins\n",
		"            " + strings.Repeat(" ", columns-6) + "ends ↑\n", "        c2  12\n       c10  2\n",
	} {
		if !strings.Contains(got, line) {
			t.Errorf("%q is missing in\n%s", line, got)
		}
	}
}
