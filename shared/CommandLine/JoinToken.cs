using System.Security.Cryptography;
using System.Text;
using Distributed.Data;

namespace Distributed.CommandLine;

/// <summary>
/// What a worker shows to be let in. It never comes out of here but by <see cref="Reveal"/>, for the message to the
/// coordinator and the environment of local workers.
/// </summary>
public sealed class JoinToken
{
    /// <summary>The environment variable that holds the token where no file is named.</summary>
    public const string Variable = "DISTRIBUTED_TOKEN";

    /// <summary>The option that names a file.</summary>
    public const string Option = "--token-file";

    private const int MostCharacters = 1024;
    private const int RandomBytes = 32;

    private readonly string _text;
    private readonly byte[] _hash;

    private JoinToken(string text)
    {
        _text = text;
        _hash = Hash(text);
    }

    /// <summary>Reads the token from the file that was named, else from the environment; null where neither has one.</summary>
    /// <param name="file">--token-file, if it was given. White space around the token does not count.</param>
    /// <exception cref="ConfigurationException">The file cannot be read, or what it holds is no token.</exception>
    public static JoinToken? Read(string? file)
    {
        if (file is not null)
            return Parse($"{Option} {file}", ReadFile(file));
        return Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } text ? Parse(Variable, text) : null;
    }

    /// <summary>A token that nobody else knows.</summary>
    public static JoinToken CreateRandom() => new(Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(RandomBytes)));

    /// <summary>Whether this is what a worker has shown. Takes the same time for every answer of the same length.</summary>
    public bool Matches(string shown) => CryptographicOperations.FixedTimeEquals(_hash, Hash(shown));

    /// <summary>The token itself.</summary>
    public string Reveal() => _text;

    public override string ToString() => "(a join token)";

    private static JoinToken Parse(string source, string text)
    {
        string token = text.Trim();
        return token.Length is > 0 and <= MostCharacters && !token.Any(char.IsControl)
            ? new JoinToken(token)
            : throw new ConfigurationException($"{source}: a join token is one line of 1 to {MostCharacters} characters");
    }

    private static string ReadFile(string file)
    {
        try
        {
            using StreamReader reader = new(file);
            char[] text = new char[MostCharacters * 2];
            return new string(text, 0, reader.ReadBlock(text));
        }
        catch (Exception refusal) when (FileFault.Is(refusal))
        {
            throw new ConfigurationException($"{Option} {file}: {FileFault.Describe(refusal)}", refusal);
        }
    }

    private static byte[] Hash(string text) => SHA256.HashData(Encoding.UTF8.GetBytes(text));
}
