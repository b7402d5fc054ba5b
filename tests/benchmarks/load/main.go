// Command load asks one server for things over mutual TLS 1.3, and says how long the answers took.
//
// It connects first, says so, and then runs one round for each line of JSON on its standard input, on connections that
// stay open from round to round: whoever measures the server's CPU time around a round measures requests alone.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const openedAtOnce = 8

// Order is one line of input: a round that ends after so many seconds, or after so many requests if that is not 0.
// Rate is in requests a second over all connections; 0 is as fast as answers come. A paced request is timed from the
// moment at which it was due, so that a server which holds up the next ones cannot hide it. With Skip, what comes due
// while a connection waits for an answer is left out: each wait is one of its own.
type Order struct {
	Seconds  float64 `json:"seconds"`
	Requests int64   `json:"requests"`
	Rate     float64 `json:"rate"`
	Skip     bool    `json:"skip"`
}

// Seen is a number in a body that was not in the one before it, and when (Unix time in ns) it had been read.
type Seen struct {
	Value int64 `json:"value"`
	At    int64 `json:"at"`
}

// Report is one line of output. Latencies are in microseconds, CPU is what this program itself has used.
type Report struct {
	Requests   int64              `json:"requests"`
	Errors     int64              `json:"errors"`
	FirstError string             `json:"first_error"`
	Statuses   map[int]int64      `json:"statuses"`
	Bytes      int64              `json:"bytes"`
	Seconds    float64            `json:"seconds"`
	CPU        float64            `json:"cpu"`
	Latency    map[string]float64 `json:"latency"`
	Seen       []Seen             `json:"seen"`
}

type settings struct {
	address string
	tls     *tls.Config
	wanted  [][]byte
	connect bool
	next    *atomic.Uint64 // in turn: how many have been asked for, by all workers
	follow  []byte
}

type texts []string

func (t *texts) String() string     { return strings.Join(*t, ", ") }
func (t *texts) Set(s string) error { *t = append(*t, s); return nil }

func main() {
	var headers texts
	address := flag.String("address", "", "host:port of the server")
	name := flag.String("name", "localhost", "name that the server's certificate is for, and Host header")
	ca := flag.String("ca", "", "PEM file with the CAs to trust; without it, plain HTTP")
	certificate := flag.String("cert", "", "PEM file with the client's certificate")
	key := flag.String("key", "", "PEM file with its key")
	targets := flag.String("targets", "", "file with a request target on each line; one is chosen at random each time")
	inTurn := flag.Bool("in-turn", false, "ask for one target after the other instead")
	method := flag.String("method", "GET", "method of every request")
	flag.Var(&headers, "header", "another header, as 'Name: value'; repeatable")
	connections := flag.Int("connections", 16, "how many to open")
	connect := flag.Bool("connect", false, "make a connection, with a full handshake, for each request, or for none")
	follow := flag.String("follow", "", "report each new value of the number that follows this text in a body")
	threads := flag.Int("threads", 1, "processors to use")
	flag.Parse()
	runtime.GOMAXPROCS(*threads)

	s := settings{address: *address, connect: *connect, follow: []byte(*follow)}
	if *inTurn {
		s.next = new(atomic.Uint64)
	}
	var err error
	if s.tls, err = clientTLS(*ca, *certificate, *key, *name); err != nil {
		fail(err)
	}
	if s.wanted, err = requests(*targets, *method, *name, headers); err != nil {
		fail(err)
	}
	if len(s.wanted) == 0 && !s.connect {
		fail(errors.New("-targets names nothing to ask for"))
	}
	if err := serve(s, *connections); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintf(os.Stderr, "load: %v\n", err)
	os.Exit(1)
}

func clientTLS(ca, certificate, key, name string) (*tls.Config, error) {
	if ca == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", ca)
	}
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	// No session cache: every handshake is a full one.
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		RootCAs:      roots,
		Certificates: []tls.Certificate{pair},
		ServerName:   name,
	}, nil
}

func requests(file, method, host string, headers []string) ([][]byte, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var wanted [][]byte
	for target := range strings.FieldsSeq(string(text)) {
		lines := append([]string{method + " " + target + " HTTP/1.1", "Host: " + host}, headers...)
		wanted = append(wanted, []byte(strings.Join(lines, "\r\n")+"\r\n\r\n"))
	}
	return wanted, nil
}

// serve opens the connections, says "ready", and runs a round for each order until there are no more.
func serve(s settings, connections int) error {
	workers := make([]*worker, connections)
	for i := range workers {
		workers[i] = &worker{settings: s, chance: rand.New(rand.NewPCG(uint64(i), 1)), last: -1}
	}
	if !s.connect {
		if err := open(workers); err != nil {
			return err
		}
	}
	fmt.Println(`"ready"`)
	orders := json.NewDecoder(os.Stdin)
	for {
		var order Order
		if err := orders.Decode(&order); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		line, err := json.Marshal(run(workers, order))
		if err != nil {
			return err
		}
		fmt.Println(string(line))
	}
}

// open connects every worker, some at a time, and asks once on each connection.
func open(workers []*worker) error {
	var next atomic.Int64
	ends := make(chan error, openedAtOnce)
	for range openedAtOnce {
		go func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(workers) {
					ends <- nil
					return
				}
				err := workers[i].open()
				if err == nil {
					_, err = workers[i].ask()
				}
				if err != nil {
					ends <- err
					return
				}
			}
		}()
	}
	for range openedAtOnce {
		if err := <-ends; err != nil {
			return err
		}
	}
	return nil
}

func run(workers []*worker, order Order) Report {
	var left atomic.Int64
	left.Store(order.Requests)
	if order.Requests == 0 {
		left.Store(1 << 62)
	}
	cpu, started := usage(), time.Now()
	end := started.Add(time.Duration(order.Seconds * float64(time.Second)))
	var group sync.WaitGroup
	for i, w := range workers {
		group.Go(func() {
			w.reset()
			var step time.Duration
			due := started
			if order.Rate > 0 {
				step = time.Duration(float64(len(workers)) / order.Rate * float64(time.Second))
				due = due.Add(step * time.Duration(i) / time.Duration(len(workers)))
			}
			w.round(due, step, end, order.Skip, &left)
		})
	}
	group.Wait()
	report := Report{Seconds: time.Since(started).Seconds(), CPU: usage() - cpu, Statuses: map[int]int64{}}
	var latencies []time.Duration
	for _, w := range workers {
		latencies = append(latencies, w.latencies...)
		report.Errors += w.errors
		report.Bytes += w.bytes
		report.Seen = append(report.Seen, w.seen...)
		for status, count := range w.statuses {
			report.Statuses[status] += count
		}
		if report.FirstError == "" {
			report.FirstError = w.firstError
		}
	}
	report.Requests = int64(len(latencies))
	report.Latency = percentiles(latencies)
	return report
}

func usage() float64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
}

func percentiles(latencies []time.Duration) map[string]float64 {
	if len(latencies) == 0 {
		return map[string]float64{}
	}
	slices.Sort(latencies)
	at := func(share float64) float64 {
		return float64(latencies[min(len(latencies)-1, int(share*float64(len(latencies))))].Nanoseconds()) / 1000
	}
	return map[string]float64{"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999), "max": at(1)}
}
