import java.io.*;
import java.net.*;
import java.nio.channels.*;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.stream.*;

/** Threads, processes, files, locks and sockets of one Java program; a line each, checked by the suite. */
public class Work {
    public static void main(String[] arguments) throws Exception {
        System.out.println("processors " + (Runtime.getRuntime().availableProcessors() > 0));
        ExecutorService pool = Executors.newFixedThreadPool(8);
        List<Future<Long>> sums = new ArrayList<>();
        for (int n = 0; n < 8; n++) {
            final int from = n;
            sums.add(pool.submit(() -> LongStream.range(from * 1000L, from * 1000L + 1000).sum()));
        }
        long total = 0;
        for (Future<Long> sum : sums) total += sum.get();
        pool.shutdown();
        System.out.println("threads " + total);
        Process child = new ProcessBuilder("sh", "-c", "echo from the child; exit 3").start();
        String line = new BufferedReader(new InputStreamReader(child.getInputStream())).readLine();
        System.out.println("process " + line + " " + child.waitFor());
        Path file = Files.createTempFile("work", ".txt");
        Files.writeString(file, "größe\n", StandardCharsets.UTF_8);
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.WRITE); FileLock lock = channel.lock()) {
            System.out.println("lock " + lock.isValid() + " " + Files.size(file));
        }
        try (ServerSocket server = new ServerSocket(0, 5, InetAddress.getLoopbackAddress())) {
            Thread answer = new Thread(() -> {
                try (Socket peer = server.accept()) {
                    peer.getOutputStream().write(("echo " + new BufferedReader(
                        new InputStreamReader(peer.getInputStream())).readLine() + "\n").getBytes());
                } catch (IOException e) {
                    throw new UncheckedIOException(e);
                }
            });
            answer.start();
            try (Socket socket = new Socket(InetAddress.getLoopbackAddress(), server.getLocalPort())) {
                socket.getOutputStream().write("hello\n".getBytes());
                System.out.println("socket " + new BufferedReader(
                    new InputStreamReader(socket.getInputStream())).readLine());
            }
            answer.join();
        }
        Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("hook")));
        System.exit(17);
    }
}
